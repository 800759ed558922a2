# SPDX-License-Identifier: Apache-2.0
#
# Tests and measurements. The unit tests link the unmodified core, compiled for this machine with sanitizers, with
# fake backends (tests/host/fake/) instead of arch/, drivers/, boot/ and lwIP.

HOST := $(BUILD)/host
HOST_CC ?= gcc
HOST_SOURCES := $(filter-out boot/% arch/% drivers/%,$(OWN_C))
# Of net/, what does not talk to lwIP.
HOST_CORE := $(filter-out $(shell grep -lE '\#include [<"](lwip|netif|lwipopts|arch/cc)' net/*.c net/*/*.c /dev/null 2>/dev/null),$(HOST_SOURCES))
HOST_FAKES := $(sort $(wildcard tests/host/fake/*.c))
HOST_TESTS := $(sort $(wildcard tests/host/test_*.c))
HOST_HELPERS := $(filter-out $(HOST_TESTS),$(sort $(wildcard tests/host/*.c)))
HOST_PROGRAMS := $(HOST_TESTS:tests/host/%.c=$(HOST)/%)

HOST_CFLAGS := -std=gnu11 -O1 -g -fno-omit-frame-pointer -fno-strict-aliasing -fsanitize=address,undefined \
	-fno-sanitize-recover=all $(WARNINGS) $(INCLUDES) -Itests/host -DGODWIT_DEBUG -DGODWIT_HOST_TEST
# Tests pass wrong things on purpose.
HOST_TEST_CFLAGS := $(if $(findstring clang,$(HOST_CC)),,-Wno-format-overflow -Wno-format-truncation -Wno-nonnull)
# Our own memcpy and the like (lib/string.c) get the prefix own_ when compiled for this machine: the sanitizers
# must see the C library's. Tests may call own_memcpy and compare.
HOST_OWN := memchr memcmp memcpy memmove memset snprintf sprintf strcat strchr strcmp strcpy strlcat strlcpy strlen \
	strncat strncmp strncpy strnlen strrchr strspn strstr strtol strtoul strtoull vsnprintf

$(HOST)/flags: FORCE
	@mkdir -p $(HOST)
	@printf '%s\n' '$(HOST_CC) $(HOST_CFLAGS)' >$@.$$$$ && $(call if_changed,$@)

$(HOST)/obj/%.o: %.c $(HOST)/flags | $(THIRD)/.setup-all
	@mkdir -p $(@D)
	$(Q)$(HOST_CC) $(HOST_CFLAGS) -MD -MP -c $< -o $@

$(HOST)/obj/tests/%.o: tests/%.c $(HOST)/flags | $(THIRD)/.setup-all
	@mkdir -p $(@D)
	$(Q)$(HOST_CC) $(HOST_CFLAGS) $(HOST_TEST_CFLAGS) -MD -MP -c $< -o $@

$(HOST)/obj/lib/%.o: lib/%.c $(HOST)/flags | $(THIRD)/.setup-all
	@mkdir -p $(@D)
	$(Q)$(HOST_CC) $(HOST_CFLAGS) -fno-builtin -MD -MP -c $< -o $@
	$(Q)$(OBJCOPY) $$(nm --defined-only $@ | awk -v names=' $(HOST_OWN) ' \
		'index(names, " " $$3 " ") { printf "--redefine-sym %s=own_%s ", $$3, $$3 }') $@

# A core file that does not compile fails the tests that need it, and `make`; the others still run: so the archives
# are made, by a make of their own, of what there is.
HOST_CORE_O := $(HOST_CORE:%.c=$(HOST)/obj/%.o)
HOST_FAKE_O := $(HOST_FAKES:%.c=$(HOST)/obj/%.o) $(HOST_HELPERS:%.c=$(HOST)/obj/%.o)
.PHONY: unit-objects unit-archives unit-programs
unit-objects: $(HOST_CORE_O) $(HOST_FAKE_O) $(HOST_TESTS:%.c=$(HOST)/obj/%.o)
unit-archives: $(HOST)/core.a $(HOST)/fake.a
$(HOST)/core.a: $(wildcard $(HOST_CORE_O))
	@rm -f $@
	$(Q)ar qcs $@ $^
$(HOST)/fake.a: $(wildcard $(HOST_FAKE_O))
	@rm -f $@
	$(Q)ar qcs $@ $^

$(HOST_PROGRAMS): $(HOST)/%: $(HOST)/obj/tests/host/%.o $(HOST)/fake.a $(HOST)/core.a
	@echo "  TEST  $@"
	$(Q)$(HOST_CC) $(HOST_CFLAGS) $< -Wl,--start-group $(HOST)/fake.a $(HOST)/core.a -Wl,--end-group -lcmocka -o $@

-include $(patsubst %.c,$(HOST)/obj/%.d,$(HOST_CORE) $(HOST_FAKES) $(HOST_HELPERS) $(HOST_TESTS))

unit-programs: $(HOST_PROGRAMS)
build_unit_tests = for step in unit-objects unit-archives unit-programs; do \
	$(MAKE) --no-print-directory -k $$step; done; true

# A test program that does not compile is a failed test; the others still run.
check: | $(THIRD)/.setup-all
	@$(build_unit_tests)
	@tools/run_tests check $(BUILD) $(HOST_PROGRAMS)

# Tiny guests: flat files in the form of a bzImage.
TINY := $(patsubst tests/guests/tiny/%.asm,$(GUEST)/%.bin,$(sort $(wildcard tests/guests/tiny/*.asm)))
$(GUEST)/%.bin: tests/guests/tiny/%.asm $(wildcard tests/guests/tiny/*.inc) | $(THIRD)/.setup-build
	@mkdir -p $(@D)
	$(Q)$(NASM) -f bin $(NASM_WARNINGS) -Itests/guests/tiny/ $< -o $@

guest: $(TINY)
EMULATED := $(BUILD)/BOOTX64.EFI $(GUEST)/initrd.img $(TINY)

test: $(EMULATED)
	@$(build_unit_tests)
	@tools/run_tests all $(BUILD) $(HOST_PROGRAMS)

# Whose CPUs the emulated hosts have: amd (QEMU) or intel (Bochs).
VENDOR ?= amd
demo: $(EMULATED)
	@tools/python tests/hosts/demo.py $(VENDOR)
run: $(EMULATED)
	@tools/python tests/hosts/run.py $(VENDOR)
bench: $(EMULATED)
	@tools/python tests/hosts/bench.py
soak: $(EMULATED)
	@tools/python tests/hosts/soak.py $(VENDOR)

lint: | $(THIRD)/.setup-all
	@tools/lint
