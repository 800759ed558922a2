# SPDX-License-Identifier: Apache-2.0
#
#	make		build/BOOTX64.EFI (RELEASE=1: no debug checks; CC=clang works)
#	make image	build/godwit.img: a GPT disk with an ESP, for a USB stick or a VM
#	make demo	two emulated hosts, a Debian guest, live migration, shown (VENDOR=intel: in Bochs)
#	make run	the same two hosts, their consoles in tmux, for playing (VENDOR=intel likewise)
#	make test	check + the tests in emulated machines
#	make check	the unit tests alone, on this machine, with sanitizers
#	make lint	layers, headers, licences, clang
#	make bench	the figures that the project is held to
#	make soak	many moves, for hours
#	make guest	the kernel and initrd of the test guest, in build/guest/
#	make clean	empties build/; make distclean also third_party/
#
# Everything that is missing is fetched by tools/setup first.

ifeq ($(origin CC),default)
CC := gcc
endif
LD := ld
OBJCOPY := objcopy
NASM := nasm
BUILD := build
THIRD := third_party
V ?= 0
Q := $(if $(filter 1,$(V)),,@)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:

# --- what there is ----------------------------------------------------------------------------------------------------

OWN_DIRS := boot lib arch mm vmm devices drivers net migrate console
OWN_C := $(sort $(shell find $(OWN_DIRS) -name '*.c' 2>/dev/null))
OWN_ASM := $(sort $(shell find $(OWN_DIRS) -name '*.asm' 2>/dev/null))

# Named one by one: third_party/ is still empty when a fresh clone's Makefile is read.
LWIP := $(THIRD)/lwip/src
LWIP_C := $(addprefix $(LWIP)/, \
	$(addprefix core/, def.c dns.c inet_chksum.c init.c ip.c mem.c memp.c netif.c pbuf.c raw.c stats.c sys.c \
		tcp.c tcp_in.c tcp_out.c timeouts.c udp.c) \
	$(addprefix core/ipv4/, acd.c autoip.c dhcp.c etharp.c icmp.c igmp.c ip4.c ip4_addr.c ip4_frag.c) \
	netif/ethernet.c)
GNU_EFI := $(THIRD)/gnu-efi

OBJ := $(BUILD)/obj
OBJECTS := $(OWN_C:%.c=$(OBJ)/%.o) $(OWN_ASM:%.asm=$(OBJ)/%.asm.o) $(LWIP_C:%.c=$(OBJ)/%.o) $(OBJ)/version.o

# --- how it is compiled -----------------------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wundef -Wvla -Werror
# Only the compiler's own headers (stdint.h and the like): no libc. ("=": asked when the compiler is sure to be there.)
FREESTANDING = -ffreestanding -nostdinc -isystem $(shell $(CC) -print-file-name=include)
MACHINE := -m64 -march=x86-64 -mno-red-zone -mgeneral-regs-only -fpie -fvisibility=hidden -fcf-protection=none
COMMON = -std=gnu11 -O2 -g -fno-stack-protector -fno-strict-aliasing -fno-omit-frame-pointer \
	-fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections -fno-common \
	$(FREESTANDING) $(MACHINE) $(if $(RELEASE),-DGODWIT_RELEASE,-DGODWIT_DEBUG)
INCLUDES := -Iinclude -I.

CFLAGS_own = $(COMMON) $(WARNINGS) $(INCLUDES)
# EFI types stay in boot/: their 16-bit strings and calling convention too.
CFLAGS_boot := -fshort-wchar -DGNU_EFI_USE_MS_ABI -isystem $(GNU_EFI)/include -isystem $(GNU_EFI)/include/x86_64
# What lwIP's headers include (string.h...) is in net/lwip/libc.
CFLAGS_net := -Inet/lwip -isystem net/lwip/libc -isystem $(LWIP)/include
# lwIP's own warnings are lwIP's business.
CFLAGS_lwip = $(COMMON) $(INCLUDES) $(CFLAGS_net) -w

# Relocations are the linker's daily bread; nasm before 2.16.03 has no such warning to switch off.
NASM_WARNINGS := -Wall -Werror -w-unknown-warning -w-reloc
NASMFLAGS := -f elf64 -g -F dwarf $(NASM_WARNINGS) -Iinclude/ -I./ $(if $(RELEASE),-DGODWIT_RELEASE,-DGODWIT_DEBUG)

LDFLAGS := -pie --no-dynamic-linker -nostdlib -Bsymbolic --gc-sections -z norelro -z nocombreloc -z noexecstack \
	-z max-page-size=4096 --no-undefined -T linker.ld
PE_SECTIONS := .text .rodata .relro .dynamic .rela .reloc .data .bss

# if_changed FILE: FILE.PID becomes FILE, unless it is the same (then FILE keeps its time, and nothing is rebuilt).
if_changed = if cmp -s $(1).$$$$ $(1); then rm $(1).$$$$; else mv $(1).$$$$ $(1); fi

own_flags = $(CFLAGS_own) $(if $(filter boot/%,$<),$(CFLAGS_boot)) $(if $(filter net/%,$<),$(CFLAGS_net))

# --- rules ------------------------------------------------------------------------------------------------------------

.PHONY: all image guest check test demo run bench soak lint clean distclean setup FORCE

all: $(BUILD)/BOOTX64.EFI

# Stamps of tools/setup. They are only waited for ("|" below): nothing is rebuilt because of them.
$(THIRD)/.setup-build: tools/setup
	@tools/setup build
$(THIRD)/.setup-all: tools/setup
	@tools/setup all
setup: $(THIRD)/.setup-all

$(LWIP_C) $(GNU_EFI)/lib/crt0-efi-x86_64.o $(GNU_EFI)/lib/libgnuefi.a: | $(THIRD)/.setup-build

# Another compiler or other flags: everything again. Written only when it changes.
$(OBJ)/flags: FORCE | $(THIRD)/.setup-build
	@mkdir -p $(OBJ)
	@printf '%s\n' '$(CC) $(CFLAGS_own) $(CFLAGS_boot) $(CFLAGS_lwip) $(NASMFLAGS) $(LDFLAGS)' >$@.$$$$ && $(call if_changed,$@)

# The version changes with every commit; only this file is compiled again.
$(OBJ)/version.c: FORCE
	@mkdir -p $(OBJ)
	@printf '#include "version.h"\nconst char godwit_version[] = "%s";\n' \
		"$$(git describe --always --dirty --tags 2>/dev/null || echo unknown)" >$@.$$$$ && $(call if_changed,$@)

$(OBJ)/version.o: $(OBJ)/version.c include/version.h $(OBJ)/flags
	$(Q)$(CC) $(CFLAGS_own) -c $< -o $@

# -MD, not -MMD: lwipopts.h is included by a "system" header, and must not be forgotten.
$(OBJ)/$(THIRD)/%.o: $(THIRD)/%.c $(OBJ)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_lwip) -MD -MP -c $< -o $@

$(OBJ)/%.o: %.c $(OBJ)/flags | $(THIRD)/.setup-build
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(own_flags) -MD -MP -c $< -o $@

$(OBJ)/%.asm.o: %.asm $(OBJ)/flags | $(THIRD)/.setup-build
	@mkdir -p $(@D)
	@echo "  NASM  $<"
	$(Q)$(NASM) $(NASMFLAGS) -MD $(@:.o=.d) -MP -MT $@ $< -o $@

$(BUILD)/godwit.elf: $(GNU_EFI)/lib/crt0-efi-x86_64.o $(OBJECTS) linker.ld $(GNU_EFI)/lib/libgnuefi.a
	@echo "  LD    $@"
	$(Q)$(LD) $(LDFLAGS) -Map $(BUILD)/godwit.map $(filter %.o,$^) $(filter %.a,$^) -o $@
	@if readelf -rW $@ | grep R_X86_64_ | grep -v R_X86_64_RELATIVE; then \
		echo "$@: gnu-efi's _relocate knows R_X86_64_RELATIVE only" >&2; rm $@; exit 1; fi

$(BUILD)/BOOTX64.EFI: $(BUILD)/godwit.elf
	@echo "  EFI   $@"
	$(Q)$(OBJCOPY) $(addprefix -j ,$(PE_SECTIONS)) --target efi-app-x86_64 --subsystem 10 $< $@

-include $(OBJECTS:.o=.d)

# For tools/lint: how a file of this folder is compiled.
print-flags-%:
	@echo '$(CFLAGS_own) $(if $(filter boot,$*),$(CFLAGS_boot)) $(if $(filter net,$*),$(CFLAGS_net))'

# --- the guest and the image ------------------------------------------------------------------------------------------

GUEST := $(BUILD)/guest
GUEST_SOURCES := $(shell find tests/guests/linux -type f)

guest: $(GUEST)/initrd.img
$(GUEST)/initrd.img: $(GUEST_SOURCES) | $(THIRD)/.setup-all
	@tests/guests/linux/mkinitramfs $(THIRD) $(GUEST)

image: $(BUILD)/godwit.img
$(BUILD)/godwit.img: $(BUILD)/BOOTX64.EFI $(GUEST)/initrd.img tools/mkimage tools/esp/godwit.cfg tools/esp/debian.cfg
	@tools/mkimage $@ 96 $(BUILD)/BOOTX64.EFI=EFI/BOOT/BOOTX64.EFI \
		tools/esp/godwit.cfg=godwit/godwit.cfg tools/esp/debian.cfg=godwit/debian.cfg \
		$(GUEST)/vmlinuz=godwit/vmlinuz $(GUEST)/initrd.img=godwit/initrd.img
	@echo "$@: write it to a USB stick, or boot it as a disk"

include tests/tests.mk

clean:
	rm -rf $(BUILD)

# The next make fetches all again.
distclean: clean
	find $(THIRD) -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
