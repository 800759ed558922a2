/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device interrupts: vectors, MSI addresses, and the IOAPICs' routes. Set up on the service CPU,
 * which also receives all of them.
 */
#include "arch/x86_64/irq.h"

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/init.h"
#include "arch/x86_64/io.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/traps.h"
#include "compiler.h"
#include "errors.h"
#include "lib/log.h"

/* The IOAPIC's window and registers (82093AA 3.0). */
enum ioapic_registers {
	IOAPIC_SELECT = 0x00,
	IOAPIC_WINDOW = 0x10,

	IOAPIC_VERSION = 0x01,
	IOAPIC_REDIRECTION = 0x10, /* + 2 * pin, low word; high word after it */
};

#define REDIRECTION_ACTIVE_LOW BIT(13)
#define REDIRECTION_LEVEL BIT(15)
#define REDIRECTION_MASKED BIT(16)
#define MSI_ADDRESS 0xfee00000ull

struct ioapic {
	u8 *mmio;
	u32 gsi_base;
	u32 pins;
};

/* Set up at boot. */
static struct ioapic ioapics[ACPI_IOAPICS_MAX];
static u32 ioapic_count;
/* Service CPU. */
static u32 next_vector = VECTOR_DEVICE_FIRST;
/* By vector: set by the handler, taken by irq_taken(). */
static bool came[256];

static u32 ioapic_read(const struct ioapic *ioapic, u32 reg)
{
	mmio_write32(ioapic->mmio + IOAPIC_SELECT, reg);
	return mmio_read32(ioapic->mmio + IOAPIC_WINDOW);
}

static void ioapic_write(const struct ioapic *ioapic, u32 reg, u32 value)
{
	mmio_write32(ioapic->mmio + IOAPIC_SELECT, reg);
	mmio_write32(ioapic->mmio + IOAPIC_WINDOW, value);
}

void irq_init(void)
{
	const struct acpi_info *acpi = acpi_info();

	for (u32 i = 0; i < acpi->ioapic_count; i++) {
		struct ioapic *ioapic = &ioapics[i];

		ioapic->mmio = paging_map_device(acpi->ioapics[i].base, PAGE_SIZE);
		ioapic->gsi_base = acpi->ioapics[i].gsi_base;
		ioapic->pins = (ioapic_read(ioapic, IOAPIC_VERSION) >> 16 & 0xff) + 1;
		for (u32 pin = 0; pin < ioapic->pins; pin++)
			ioapic_write(ioapic, IOAPIC_REDIRECTION + 2 * pin, REDIRECTION_MASKED);
	}
	ioapic_count = acpi->ioapic_count;
}

int irq_alloc(u8 *vector)
{
	if (next_vector > VECTOR_DEVICE_LAST)
		return trace_error(-E_NOMEM);
	*vector = (u8)next_vector++;
	return 0;
}

/* Eight bits of APIC id are all that MSIs and IOAPICs have without interrupt remapping. */
static u32 service_apic_id(void)
{
	u32 id = cpu_get(SERVICE_CPU)->apic_id;

	assert(id < 255);
	return id;
}

u64 irq_msi_address(void)
{
	return MSI_ADDRESS | service_apic_id() << 12;
}

u32 irq_msi_data(u8 vector)
{
	return vector; /* fixed delivery, edge */
}

int irq_route_gsi(u32 gsi, u8 vector, bool level, bool active_low)
{
	for (u32 i = 0; i < ioapic_count; i++) {
		const struct ioapic *ioapic = &ioapics[i];
		u32 reg = IOAPIC_REDIRECTION + 2 * (gsi - ioapic->gsi_base);
		u32 low = vector;

		if (gsi < ioapic->gsi_base || gsi - ioapic->gsi_base >= ioapic->pins)
			continue;
		if (level)
			low |= REDIRECTION_LEVEL;
		if (active_low)
			low |= REDIRECTION_ACTIVE_LOW;
		ioapic_write(ioapic, reg, REDIRECTION_MASKED);
		ioapic_write(ioapic, reg + 1, service_apic_id() << 24);
		ioapic_write(ioapic, reg, low);
		return 0;
	}
	return trace_error(-E_NOENT);
}

int irq_route_isa(u8 isa_irq, u8 vector)
{
	const struct acpi_isa_irq *isa;

	if (isa_irq >= ARRAY_SIZE(acpi_info()->isa))
		return trace_error(-E_INVAL);
	isa = &acpi_info()->isa[isa_irq];
	return irq_route_gsi(isa->gsi, vector, isa->level, isa->active_low);
}

void irq_note(u8 vector)
{
	WRITE_ONCE(came[vector], true);
	atomic_or(&cpu_self()->pending, CPU_PENDING_DEVICE);
}

bool irq_taken(u8 vector)
{
	return READ_ONCE(came[vector]) && atomic_swap(&came[vector], false);
}
