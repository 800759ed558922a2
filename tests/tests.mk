# SPDX-License-Identifier: Apache-2.0
#
# Tests and measurements. The unit tests link the unmodified core, compiled for this machine with sanitizers, with
# fake backends (tests/host/fake/) instead of arch/, drivers/, boot/ and lwIP.

# For a make within a recipe, if this one was not told how many jobs at once.
jobs = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$$(nproc))

HOST := $(BUILD)/host
HOST_CC ?= gcc
HOST_SOURCES := $(filter-out boot/% arch/% drivers/%,$(OWN_C))
# Of net/, what does not talk to lwIP.
HOST_CORE := $(filter-out $(shell grep -lE '\#include [<"](lwip|netif|lwipopts|arch/cc)' net/*.c net/*/*.c /dev/null 2>/dev/null),$(HOST_SOURCES))
HOST_FAKES := $(sort $(wildcard tests/host/fake/*.c))
HOST_TESTS := $(sort $(wildcard tests/host/test_*.c))
HOST_HELPERS := $(filter-out $(HOST_TESTS),$(sort $(wildcard tests/host/*.c)))
HOST_PROGRAMS := $(HOST_TESTS:tests/host/%.c=$(HOST)/%)

HOST_SANITIZE ?= address,undefined
HOST_CFLAGS := -std=gnu11 -O1 -g1 -fPIC -fno-omit-frame-pointer -fno-strict-aliasing -fsanitize=$(HOST_SANITIZE) \
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
	@mkdir -p $(@D) && rm -f $@
	$(Q)$(HOST_CC) $(HOST_CFLAGS) -MD -MP -c $< -o $@

$(HOST)/obj/tests/%.o: tests/%.c $(HOST)/flags | $(THIRD)/.setup-all
	@mkdir -p $(@D) && rm -f $@
	$(Q)$(HOST_CC) $(HOST_CFLAGS) $(HOST_TEST_CFLAGS) -MD -MP -c $< -o $@

HOST_TLS_INCLUDES := -isystem net/tls -isystem $(MBEDTLS)/include
# TLS is real in the tests, too. (mbedTLS' own mistakes are not looked for here.)
HOST_MBEDTLS_CFLAGS := -std=gnu11 -O2 -g1 -w $(HOST_TLS_INCLUDES) -I$(MBEDTLS)/library
HOST_MBEDTLS_O := $(MBEDTLS_C:%.c=$(HOST)/obj/%.o) $(IPSEC_MB_ASM:%.asm=$(HOST)/obj/%.asm.o)
$(HOST)/obj/$(MBEDTLS)/%.o: $(MBEDTLS)/%.c $(HOST)/flags | $(THIRD)/.setup-all
	@mkdir -p $(@D) && rm -f $@
	$(Q)$(HOST_CC) $(HOST_MBEDTLS_CFLAGS) -MD -MP -c $< -o $@
$(HOST)/obj/$(IPSEC_MB)/%.asm.o: $(IPSEC_MB)/%.asm $(HOST)/flags | $(THIRD)/.setup-all
	@mkdir -p $(@D) && rm -f $@
	$(Q)$(NASM) $(NASMFLAGS_ipsec_mb) $< -o $@
$(HOST)/obj/net/tls/%.o: net/tls/%.c $(HOST)/flags | $(THIRD)/.setup-all
	@mkdir -p $(@D) && rm -f $@
	$(Q)$(HOST_CC) $(HOST_CFLAGS) $(HOST_TLS_INCLUDES) -MD -MP -c $< -o $@

$(HOST)/obj/lib/%.o: lib/%.c $(HOST)/flags | $(THIRD)/.setup-all
	@mkdir -p $(@D)
	$(Q)$(HOST_CC) $(HOST_CFLAGS) -fno-builtin -MD -MP -c $< -o $@
	$(Q)$(OBJCOPY) $$(nm --defined-only $@ | awk -v names=' $(HOST_OWN) ' \
		'index(names, " " $$3 " ") { printf "--redefine-sym %s=own_%s ", $$3, $$3 }') $@

# The transitions of the model, for the test that takes the real state machines through each of them.
$(HOST)/transitions.h: tests/model/handover.pml
	@mkdir -p $(@D)
	@grep -o '\bT([a-z_]*)' $< | grep -v '(name)' | sort -u | sed 's/^T/TRANSITION/' >$@
$(HOST)/obj/tests/host/test_migrate_walk.o: $(HOST)/transitions.h
$(patsubst %,$(HOST)/obj/tests/host/test_%.o,gcm tls migrate_verify): HOST_TEST_CFLAGS += $(HOST_TLS_INCLUDES)
$(HOST)/obj/tests/host/test_migrate_walk.o: HOST_TEST_CFLAGS += -I$(HOST)

# A core file that does not compile fails the tests that need it, and `make`; the others still run: so the archives
# are made, by a make of their own, of what there is.
HOST_CORE_O := $(HOST_CORE:%.c=$(HOST)/obj/%.o)
HOST_FAKE_O := $(HOST_FAKES:%.c=$(HOST)/obj/%.o) $(HOST_HELPERS:%.c=$(HOST)/obj/%.o)
.PHONY: unit-objects unit-archives unit-programs
unit-objects: $(HOST_CORE_O) $(HOST_FAKE_O) $(HOST_MBEDTLS_O) $(HOST)/obj/tests/host/faults/image.o $(HOST_TESTS:%.c=$(HOST)/obj/%.o)
unit-archives: $(HOST)/core.a $(HOST)/fake.a
$(HOST)/core.a: $(wildcard $(HOST_CORE_O) $(HOST_MBEDTLS_O))
	@rm -f $@
	$(Q)ar qcs $@ $^
$(HOST)/fake.a: $(wildcard $(HOST_FAKE_O))
	@rm -f $@
	$(Q)ar qcs $@ $^

$(HOST_PROGRAMS): $(HOST)/%: $(HOST)/obj/tests/host/%.o $(HOST)/fake.a $(HOST)/core.a
	@echo "  TEST  $@"
	$(Q)$(HOST_CC) $(HOST_CFLAGS) $< -Wl,--start-group $(HOST)/fake.a $(HOST)/core.a -Wl,--end-group -lcmocka -o $@

-include $(patsubst %.c,$(HOST)/obj/%.d,$(HOST_CORE) $(MBEDTLS_C) $(HOST_FAKES) $(HOST_HELPERS) $(HOST_TESTS))
# A host as a shared object, which test_migrate_faults and test_migrate_fleet load once for each of their hosts.
$(HOST)/fault_host.so: $(HOST)/obj/tests/host/faults/image.o $(HOST)/fake.a $(HOST)/core.a
	$(Q)$(HOST_CC) $(HOST_CFLAGS) -shared -Wl,-Bsymbolic -Wl,-z,now $< -Wl,--start-group $(HOST)/fake.a $(HOST)/core.a \
		-Wl,--end-group -o $@
$(HOST)/obj/tests/host/faults/image.o: HOST_TEST_CFLAGS += -Wno-unused-function
$(HOST)/test_migrate_faults $(HOST)/test_migrate_fleet: $(HOST)/fault_host.so
-include $(HOST)/obj/tests/host/faults/image.d


unit-programs: $(HOST_PROGRAMS)
# A program whose own file no longer compiles (its object is gone) goes too: the old one would pass.
build_unit_tests = for step in unit-objects unit-archives unit-programs; do \
	$(MAKE) --no-print-directory $(jobs) -k $$step; done; \
	for test in $(HOST_TESTS:tests/host/%.c=%); do \
	[ -e $(HOST)/obj/tests/host/$$test.o ] || rm -f $(HOST)/$$test; done

# A test program that does not compile is a failed test; the others still run.
check: | $(THIRD)/.setup-all
	@$(build_unit_tests)
	@$(build_fuzz_targets)
	@tools/run_tests check $(BUILD) $(HOST_PROGRAMS)

# Hostile input: each file tests/fuzz/fuzz_*.c is a target of libFuzzer. The core and the fakes once more, by clang and
# with its coverage: the same rules in a make of its own (mbedTLS as the unit tests have it).
FUZZ := $(BUILD)/fuzz
FUZZ_CC := clang
FUZZ_TARGETS := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_NAMES := $(FUZZ_TARGETS:tests/fuzz/fuzz_%.c=%)
FUZZ_PROGRAMS := $(FUZZ_TARGETS:tests/fuzz/%.c=$(HOST)/%)
# Guest memory that changes between two fetches: its reads go through the target.
FUZZ_WRAP_virtio := -Wl,--wrap=gmem_read,--wrap=gmem_read_u16
# Comparisons in mm/ tell the fuzzer nothing, and there are millions of them: it looks for pages of zeros.
build_fuzz_targets = if tools/fuzz possible $(FUZZ_CC) >/dev/null; then for step in fuzz-objects unit-archives fuzz-programs; do \
	$(MAKE) --no-print-directory $(jobs) -k HOST=$(FUZZ)/build HOST_CC=$(FUZZ_CC) HOST_MBEDTLS_O='$(HOST_MBEDTLS_O)' \
	HOST_SANITIZE=fuzzer-no-link,address,undefined HOST_MM_CFLAGS="-fno-sanitize-coverage=trace-cmp" $$step; done; fi; \
	for name in $(FUZZ_NAMES); do [ -e $(FUZZ)/build/obj/tests/fuzz/fuzz_$$name.o ] || rm -f $(FUZZ)/build/fuzz_$$name; done
# Tests look through a great many pages for one that is not zero.
$(HOST)/obj/mm/%.o: HOST_CFLAGS += -O2 -ftree-vectorize $(HOST_MM_CFLAGS)
.PHONY: fuzz-objects fuzz-programs fuzz
fuzz-objects: $(HOST_CORE_O) $(HOST_FAKE_O) $(HOST)/obj/tests/fuzz/fuzz.o $(FUZZ_TARGETS:%.c=$(HOST)/obj/%.o)
fuzz-programs: $(FUZZ_PROGRAMS)
$(HOST)/obj/tests/fuzz/%.o: HOST_TEST_CFLAGS += -Itests/fuzz -Wno-unused-function -Wno-unused-variable
$(FUZZ_PROGRAMS): $(HOST)/fuzz_%: $(HOST)/obj/tests/fuzz/fuzz_%.o $(HOST)/obj/tests/fuzz/fuzz.o $(HOST)/fake.a $(HOST)/core.a
	@echo "  FUZZ  $@"
	$(Q)$(HOST_CC) $(subst fuzzer-no-link,fuzzer,$(HOST_CFLAGS)) $(FUZZ_WRAP_$*) $(filter %.o,$^) \
		-Wl,--start-group $(HOST)/fake.a $(HOST)/core.a -Wl,--end-group -lcmocka -o $@
-include $(patsubst %.c,$(HOST)/obj/%.d,$(FUZZ_TARGETS) tests/fuzz/fuzz.c)

# For tools/lint's look by clang: what is ours, and not in these targets.
.PHONY: hypervisor-objects
hypervisor-objects: $(patsubst %.c,$(OBJ)/%.o,$(filter-out $(HOST_CORE),$(OWN_C)))

# make fuzz TARGET=receive [SECONDS=60]
SECONDS ?= 60
fuzz: | $(THIRD)/.setup-all
	@$(MAKE) --no-print-directory $(jobs) unit-objects
	@$(build_fuzz_targets)
	@tools/fuzz one $(BUILD) $(SECONDS) $(or $(TARGET),$(FUZZ_NAMES))

# Tiny guests: flat files in the form of a bzImage.
TINY := $(patsubst tests/guests/tiny/%.asm,$(GUEST)/%.bin,$(sort $(wildcard tests/guests/tiny/*.asm)))
$(GUEST)/%.bin: tests/guests/tiny/%.asm $(wildcard tests/guests/tiny/*.inc) | $(THIRD)/.setup-build
	@mkdir -p $(@D)
	$(Q)$(NASM) -f bin $(NASM_WARNINGS) -Itests/guests/tiny/ $< -o $@

guest: $(TINY)
EMULATED := $(BUILD)/BOOTX64.EFI $(GUEST)/initrd.img $(TINY)
build_emulated = $(MAKE) --no-print-directory $(jobs) $(EMULATED)

test: | $(THIRD)/.setup-all
	@$(build_emulated)
	@$(build_unit_tests)
	@$(build_fuzz_targets)
	@tools/run_tests all $(BUILD) $(HOST_PROGRAMS)

# Whose CPUs the emulated hosts have: amd (QEMU) or intel (Bochs).
VENDOR ?= amd
demo: | $(THIRD)/.setup-all
	@$(build_emulated)
	@tools/python tests/hosts/demo.py $(VENDOR)
run: | $(THIRD)/.setup-all
	@$(build_emulated)
	@tools/python tests/hosts/run.py $(VENDOR)
# What is measured is the release build (without UBSan), with the fault points and commands that measuring needs.
bench: | $(THIRD)/.setup-all
	@$(build_emulated)
	@$(MAKE) --no-print-directory $(jobs) BUILD=$(BUILD)/measured THIRD_OBJ=$(OBJ) RELEASE=1 MEASURE=1 $(BUILD)/measured/BOOTX64.EFI
	@GODWIT_EFI=$(BUILD)/measured/BOOTX64.EFI tools/python tests/hosts/bench.py
soak: | $(THIRD)/.setup-all
	@$(build_emulated)
	@tools/model soak $(BUILD)
	@$(build_unit_tests)
	FAULT_RUNS=200000 $(HOST)/test_migrate_faults
	@$(build_fuzz_targets)
	@tools/fuzz soak $(BUILD) 600 $(FUZZ_NAMES)
	@tools/python tests/hosts/soak.py $(VENDOR)

lint: | $(THIRD)/.setup-all
	@tools/lint
