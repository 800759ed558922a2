# SPDX-License-Identifier: Apache-2.0
#
#	make		build/BOOTX64.EFI (RELEASE=1: no debug checks; CC=clang works)
#	make image	build/godwit.img: a GPT disk with an ESP, for a USB stick or a VM
#	make demo	two emulated hosts, a Debian guest, live migration, shown (VENDOR=intel: in Bochs)
#	make run	the same two hosts, their consoles in tmux, for playing (VENDOR=intel likewise)
#	make test	check + the tests in emulated machines
#	make check	the unit tests, the model of the hand-over and 8,000 hostile inputs for each target of tests/fuzz/,
#			on this machine, with sanitizers
#	make lint	layers, headers, licences, clang
#	make bench	the figures that the project is held to
#	make soak	larger models, ten minutes of fuzzing for each target, and many moves, for hours
#	make fuzz	TARGET=receive SECONDS=60: hostile inputs for one target (for all: without TARGET), shown
#	make key	a new cluster key: the line for every host's godwit.cfg
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
MBEDTLS := $(THIRD)/mbedtls
MBEDTLS_C := $(addprefix $(MBEDTLS)/library/, \
	aes.c aesni.c asn1parse.c asn1write.c base64.c bignum.c bignum_core.c chacha20.c chachapoly.c cipher.c \
	cipher_wrap.c constant_time.c ecdh.c ecdsa.c ecp.c ecp_curves.c hkdf.c md.c memory_buffer_alloc.c oid.c \
	pem.c pk.c pk_ecc.c pk_wrap.c pkparse.c platform.c platform_util.c poly1305.c psa_crypto.c psa_crypto_aead.c \
	psa_crypto_cipher.c psa_crypto_client.c psa_crypto_driver_wrappers_no_static.c psa_crypto_ecp.c \
	psa_crypto_hash.c psa_crypto_mac.c psa_crypto_rsa.c psa_crypto_slot_management.c psa_util.c sha256.c sha512.c \
	ssl_ciphersuites.c ssl_client.c ssl_msg.c ssl_tls.c ssl_tls13_client.c ssl_tls13_generic.c ssl_tls13_keys.c \
	ssl_tls13_server.c x509.c x509_crt.c)
# AES-GCM for mbedTLS (net/tls/gcm_alt.c).
IPSEC_MB := $(THIRD)/ipsec-mb/lib
IPSEC_MB_ASM := $(addprefix $(IPSEC_MB)/, avx_t1/aes128_gcm_by8_avx.asm x86_64/aes_keyexp_128.asm \
	x86_64/poly1305.asm)
GNU_EFI := $(THIRD)/gnu-efi

OBJ := $(BUILD)/obj
# What others wrote is the same in all builds by one compiler: a build beside another may take it from there.
THIRD_OBJ := $(OBJ)
OBJECTS := $(OWN_C:%.c=$(OBJ)/%.o) $(OWN_ASM:%.asm=$(OBJ)/%.asm.o) $(LWIP_C:%.c=$(THIRD_OBJ)/%.o) \
	$(MBEDTLS_C:%.c=$(THIRD_OBJ)/%.o) $(IPSEC_MB_ASM:%.asm=$(THIRD_OBJ)/%.asm.o) \
	$(OBJ)/version.o

# --- how it is compiled -----------------------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wundef -Wvla -Werror
# Only the compiler's own headers (stdint.h and the like): no libc. ("=": asked when the compiler is sure to be there.)
FREESTANDING = -ffreestanding -nostdinc -isystem $(shell $(CC) -print-file-name=include)
MACHINE := -m64 -march=x86-64 -mno-red-zone -mgeneral-regs-only -fpie -fvisibility=hidden -fcf-protection=none
OPTIMIZE := -O2 -g
COMMON = -std=gnu11 $(OPTIMIZE) $(STACK_PROTECTOR) -fno-strict-aliasing -fno-omit-frame-pointer \
	-fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections -fno-common \
	$(FREESTANDING) $(MACHINE)
INCLUDES := -Iinclude -I.

# An own word of this boot, checked before a function with an array returns (arch/x86_64/stack_guard.c).
STACK_PROTECTOR := -fstack-protector-strong -mstack-protector-guard=global
# Debug builds stop at undefined behaviour: a trap, as there is no runtime library (arch/x86_64/panic.c). Not in lwIP and mbedTLS,
# whose own business that is. (gcc 12 does not know -fsanitize-trap.)
UBSAN := $(if $(RELEASE),,-fsanitize=undefined)
UBSAN_FLAGS = $(UBSAN) $(if $(UBSAN),$(if $(findstring clang,$(CC)),-fsanitize-trap=undefined,-fsanitize-undefined-trap-on-error))

CFLAGS_own = $(COMMON) $(if $(RELEASE),-DGODWIT_RELEASE,-DGODWIT_DEBUG) $(if $(MEASURE),-DGODWIT_MEASURE) \
	$(UBSAN_FLAGS) $(WARNINGS) $(INCLUDES)
# EFI types stay in boot/: their 16-bit strings and calling convention too.
CFLAGS_boot := -fshort-wchar -DGNU_EFI_USE_MS_ABI -isystem $(GNU_EFI)/include -isystem $(GNU_EFI)/include/x86_64
# What lwIP's headers include (string.h...) is in net/lwip/libc.
CFLAGS_net := -Inet/lwip -isystem net/lwip/libc -isystem $(LWIP)/include
# mbedTLS has what it needs of a libc in net/tls/libc, and its configuration in net/tls/mbedtls, before its own.
CFLAGS_tls := -isystem net/tls/libc -isystem net/tls -isystem $(MBEDTLS)/include
# Builtins: it copies a cipher's block at a time, and a call for each costs more than the cipher.
CFLAGS_mbedtls = $(COMMON) -fbuiltin $(CFLAGS_tls) -I$(MBEDTLS)/library -w
# The one file in C that needs vector registers: when they are ours is in net/tls/tls.c. (Without -maes: then it is inline
# assembly, as aes.c expects that is compiled without, too.)
CFLAGS_aesni = $(filter-out -mgeneral-regs-only,$(CFLAGS_mbedtls))
# lwIP's own warnings are lwIP's business.
CFLAGS_lwip = $(COMMON) $(INCLUDES) $(CFLAGS_net) -w

# Relocations are the linker's daily bread; nasm before 2.16.03 has no such warning to switch off.
NASM_WARNINGS := -Wall -Werror -w-unknown-warning -w-reloc
# (SAFE_DATA: it wipes the registers that held key and text.)
NASMFLAGS_ipsec_mb := -f elf64 -DLINUX -DSAFE_DATA -I$(IPSEC_MB)/ -I$(IPSEC_MB)/include/ -w-all
NASMFLAGS := -f elf64 -g -F dwarf $(NASM_WARNINGS) -Iinclude/ -I./ $(if $(RELEASE),-DGODWIT_RELEASE,-DGODWIT_DEBUG)

LDFLAGS := -pie --no-dynamic-linker -nostdlib -Bsymbolic --gc-sections -z norelro -z nocombreloc -z noexecstack \
	-z max-page-size=4096 --no-undefined -T linker.ld
PE_SECTIONS := .text .rodata .relro .dynamic .rela .reloc .data .bss

# if_changed FILE: FILE.PID becomes FILE, unless it is the same (then FILE keeps its time, and nothing is rebuilt).
if_changed = if cmp -s $(1).$$$$ $(1); then rm $(1).$$$$; else mv $(1).$$$$ $(1); fi

own_flags = $(CFLAGS_own) $(if $(filter boot/%,$<),$(CFLAGS_boot)) $(if $(filter net/tls/%,$<),$(CFLAGS_tls),$(if $(filter net/%,$<),$(CFLAGS_net)))

# --- rules ------------------------------------------------------------------------------------------------------------

.PHONY: all key image guest check test demo run bench soak fuzz lint clean distclean setup FORCE

all: $(BUILD)/BOOTX64.EFI

# Stamps of tools/setup. They are only waited for ("|" below): nothing is rebuilt because of them.
$(THIRD)/.setup-build: tools/setup
	@tools/setup build
$(THIRD)/.setup-all: tools/setup
	@tools/setup all
setup: $(THIRD)/.setup-all

$(LWIP_C) $(MBEDTLS_C) $(IPSEC_MB_ASM) $(GNU_EFI)/lib/crt0-efi-x86_64.o $(GNU_EFI)/lib/libgnuefi.a: | $(THIRD)/.setup-build

# Another compiler or other flags: everything again. Written only when it changes.
$(OBJ)/flags: FORCE | $(THIRD)/.setup-build
	@mkdir -p $(OBJ)
	@printf '%s\n' '$(CC) $(CFLAGS_own) $(CFLAGS_boot) $(CFLAGS_net) $(CFLAGS_tls) $(NASMFLAGS) $(LDFLAGS)' >$@.$$$$ && $(call if_changed,$@)
$(THIRD_OBJ)/third-flags: FORCE | $(THIRD)/.setup-build
	@mkdir -p $(THIRD_OBJ)
	@printf '%s\n' '$(CC) $(CFLAGS_lwip) $(CFLAGS_mbedtls) $(CFLAGS_aesni) $(NASMFLAGS_ipsec_mb)' >$@.$$$$ && $(call if_changed,$@)

# The version changes with every commit; only this file is compiled again.
$(OBJ)/version.c: FORCE
	@mkdir -p $(OBJ)
	@printf '#include "version.h"\nconst char godwit_version[] = "%s";\n' \
		"$$(git describe --always --dirty --tags 2>/dev/null || echo unknown)" >$@.$$$$ && $(call if_changed,$@)

$(OBJ)/version.o: $(OBJ)/version.c include/version.h $(OBJ)/flags
	$(Q)$(CC) $(CFLAGS_own) -c $< -o $@

# -MD, not -MMD: lwipopts.h is included by a "system" header, and must not be forgotten.
$(THIRD_OBJ)/$(MBEDTLS)/%.o: $(MBEDTLS)/%.c $(THIRD_OBJ)/third-flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(if $(filter %/aesni.c,$<),$(CFLAGS_aesni),$(CFLAGS_mbedtls)) -MD -MP -c $< -o $@

$(THIRD_OBJ)/$(IPSEC_MB)/%.asm.o: $(IPSEC_MB)/%.asm $(THIRD_OBJ)/third-flags
	@mkdir -p $(@D)
	$(Q)$(NASM) $(NASMFLAGS_ipsec_mb) $< -o $@

$(THIRD_OBJ)/$(THIRD)/%.o: $(THIRD)/%.c $(THIRD_OBJ)/third-flags
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

key:
	@printf "key = '%s'\n" "$$(od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n')"

# For tools/lint: how a file of this folder is compiled.
print-flags-%:
	@echo '$(CFLAGS_own) $(if $(filter boot,$*),$(CFLAGS_boot)) $(if $(filter net-tls,$*),$(CFLAGS_tls),$(if $(filter net,$*),$(CFLAGS_net)))'

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
