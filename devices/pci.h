/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's PCI bus: one segment, one bus, a host bridge at 00.0 and single-function devices.
 * Owns ports 0xcf8..0xcff (0xcf9, the reset control register, lies among them) and the ECAM window
 * at BOARD_MCFG_BASE. Accesses run on the vCPU's CPU with vm->lock held.
 */
#ifndef DEVICES_PCI_H
#define DEVICES_PCI_H

#include "pci_regs.h"
#include "types.h"
#include "vmm/board.h"
#include "vmm/device.h"
#include "vmm/io_bus.h"

#define PCI_SLOTS_MAX 16
#define PCI_BARS 2
#define PCI_MSIX_MAX 6 /* vectors of one function */

struct pci_function;

struct pci_bus {
	struct vm *vm;
	struct pci_function *slots[PCI_SLOTS_MAX];
	u64 bar_next; /* where the next BAR goes at power-on */
};

/* What makes two functions the same to a driver. */
struct pci_identity {
	u16 vendor, device;
	u16 subsystem_vendor, subsystem;
	u32 class_code; /* base class, subclass, interface: 24 bits */
	u8 revision;
	bool intx;      /* has an interrupt pin (INTA) */
};

/* A memory BAR of 32 bits. */
struct pci_bar {
	u32 bytes;            /* a power of two, at least 4 KiB; 0: there is none */
	u32 initial;          /* where the board puts it at power-on */
	io_handler *handler;
	void *ctx;
	bool mapped;
	u32 mapped_base;
};

struct pci_msix_entry {
	u64 address;
	u32 data;
	u32 control; /* bit 0: masked */
};

struct pci_function {
	struct vm *vm;
	struct pci_bus *bus;           /* NULL once it has gone */
	u8 slot;
	u8 config[PCI_CONFIG_BYTES];
	u8 writable[PCI_CONFIG_BYTES]; /* per byte: the bits that a write changes */
	u8 reset[PCI_CONFIG_BYTES];    /* config at power-on */
	u8 last_capability, free_offset;
	struct pci_bar bar[PCI_BARS];
	bool intx_asserted;            /* what the device wants, before INTX_DISABLE */
	/* MSI-X (devices/pci_msix.c) */
	u8 msix_capability;            /* its offset, 0: has none */
	u16 msix_vectors;
	u64 msix_pending;
	struct pci_msix_entry msix[PCI_MSIX_MAX];
	/*
	 * Of the device itself, both may be NULL: before a read of, and after a write to, its configuration space
	 * (for registers that do something).
	 */
	void (*before_read)(struct pci_function *function, u32 offset, u32 bytes);
	void (*after_write)(struct pci_function *function, u32 offset, u32 bytes);
};

/* The part of a device's state that is its PCI function's. */
struct pci_function_state {
	u8 config[PCI_CONFIG_BYTES];
	u64 msix_pending;
	struct pci_msix_entry msix[PCI_MSIX_MAX];
	u8 intx_asserted;
	u8 reserved[7];
};
static_assert(sizeof(struct pci_function_state) == 256 + 8 + 16 * PCI_MSIX_MAX + 8, "stream layout");

/* --- the board: calls pci_host_init first, then the devices' create functions; at most once each. Their fini
 * op (device list) frees them. --- */
int must_check pci_host_init(struct vm *vm);
/* The GSI of an interrupt pin (0 = INTA): what the DSDT's _PRT has to say. */
static inline u32 pci_gsi(u32 slot, u32 pin)
{
	return BOARD_PCI_INTA_GSI + (slot + pin) % 4;
}

/* --- devices --- */
/* Fills in the header and takes the next free slot: -E_NOMEM if there is none. */
int must_check pci_function_init(struct pci_function *function, struct vm *vm, const struct pci_identity *identity);
void pci_function_fini(struct pci_function *function);
/* Between init and start: a BAR, a capability of bytes (its offset is returned; the first two bytes are filled in). */
void pci_function_add_bar(struct pci_function *function, u32 index, u32 bytes, io_handler *handler, void *ctx);
u8 pci_function_add_capability(struct pci_function *function, u8 id, u32 bytes);
/* MSI-X: table and pending bits are in BAR index, of one page. */
void pci_function_add_msix(struct pci_function *function, u32 bar, u16 vectors);
/* The function is complete: remembers config for resets and maps the BARs. */
void pci_function_start(struct pci_function *function);
void pci_function_reset(struct pci_function *function);

/* Drives INTA. vm->lock held, as for all below. */
void pci_set_intx(struct pci_function *function, bool level);
/* Has the driver switched MSI-X on? Then lines stay silent. */
bool pci_msix_enabled(const struct pci_function *function);
/* Sends vector, or notes it as pending while it is masked. Vectors that do not exist are ignored. */
void pci_msix_send(struct pci_function *function, u16 vector);
/* May the function read and write guest memory, and send MSIs? */
bool pci_is_master(const struct pci_function *function);

void pci_function_save(const struct pci_function *function, struct pci_function_state *state);
/* -E_INVAL unless it is the state of a function with the same registers as this one. */
int must_check pci_function_check(const struct pci_function *function, const struct pci_function_state *state);
void pci_function_load(struct pci_function *function, const struct pci_function_state *state);
/* After a load, when all devices are loaded: drives the line again. */
void pci_function_resume(struct pci_function *function);

/* --- between pci.c, pci_function.c and pci_msix.c --- */
struct pci_bus *pci_bus_of(struct vm *vm);
int must_check pci_function_init_on(struct pci_function *function, struct pci_bus *bus,
				    const struct pci_identity *identity);
/* These registers were written: does what they say. */
void pci_function_written(struct pci_function *function, u32 offset, u32 bytes);
u32 pci_read_bytes(const u8 *bytes, u32 count);
void pci_write_bytes(u8 *bytes, u32 count, u32 value);
void pci_msix_control_written(struct pci_function *function);

/* DEVICE_PCI_HOST, version 1. */
struct pci_host_state {
	struct pci_function_state bridge;
	u32 address;       /* the last dword written to 0xcf8 */
	u8 reset_control;  /* 0xcf9 */
	u8 reserved[3];
};
static_assert(sizeof(struct pci_host_state) == sizeof(struct pci_function_state) + 8, "stream layout");

#endif
