/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RSDP, XSDT, FADT, FACS, DSDT, MADT, MCFG (ACPI 6.5 5.2). Built anew at each start of a guest, by
 * the service CPU; after that they are the guest's memory. tests/host/test_vmm_boot.c has iasl read them.
 */
#include "vmm/acpi_tables.h"

#include "errors.h"
#include "lib/string.h"
#include "mm/pages.h"
#include "vmm/aml.h"
#include "vmm/board.h"
#include "vmm/vm.h"

struct acpi_header {
	char signature[4];
	u32 length;
	u8 revision;
	u8 checksum;
	char oem_id[6];
	char oem_table_id[8];
	u32 oem_revision;
	char creator_id[4];
	u32 creator_revision;
} packed;
static_assert(sizeof(struct acpi_header) == 36, "ACPI 6.5 table 5.4");

struct acpi_rsdp {
	char signature[8];
	u8 checksum;
	char oem_id[6];
	u8 revision;
	u32 rsdt;
	u32 length;
	u64 xsdt;
	u8 extended_checksum;
	u8 reserved[3];
} packed;
static_assert(sizeof(struct acpi_rsdp) == 36, "ACPI 6.5 table 5.3");

struct acpi_gas {
	u8 space; /* 1: system I/O */
	u8 bits;
	u8 offset;
	u8 access;
	u64 address;
} packed;

struct acpi_fadt {
	struct acpi_header header;
	u32 facs, dsdt;
	u8 reserved0, pm_profile;
	u16 sci_irq;
	u32 smi_command;
	u8 acpi_enable, acpi_disable, s4bios, pstate_control;
	u32 pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0, gpe1;
	u8 pm1_event_bytes, pm1_control_bytes, pm2_control_bytes, pm_timer_bytes, gpe0_bytes, gpe1_bytes, gpe1_base;
	u8 cst_control;
	u16 c2_latency, c3_latency, flush_size, flush_stride;
	u8 duty_offset, duty_width, day_alarm, month_alarm, century;
	u16 boot_arch;
	u8 reserved1;
	u32 flags;
	struct acpi_gas reset;
	u8 reset_value;
	u16 arm_boot_arch;
	u8 minor;
	u64 x_facs, x_dsdt;
	struct acpi_gas x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control, x_pm2_control, x_pm_timer, x_gpe0,
		x_gpe1, sleep_control, sleep_status;
	u64 hypervisor;
} packed;
static_assert(sizeof(struct acpi_fadt) == 276, "ACPI 6.5 table 5.9");

enum {
	BOOT_ARCH_LEGACY = BIT(0), /* ISA devices: the UART, the RTC */
	BOOT_ARCH_NO_VGA = BIT(2),
	FADT_WBINVD = BIT(0),
	FADT_PROC_C1 = BIT(2),
	FADT_NO_SLEEP_BUTTON = BIT(5),
	FADT_NO_RTC_WAKE = BIT(6),
	FADT_TMR_32 = BIT(8),
	FADT_RESET = BIT(10),
};

struct acpi_facs {
	char signature[4];
	u32 length;
	u8 zero[24];
	u8 version;
	u8 reserved[31];
} packed;
static_assert(sizeof(struct acpi_facs) == 64, "ACPI 6.5 table 5.13");

/* Where the next table goes. */
struct builder {
	u8 *memory;
	u32 used;
	bool overflow;
};

/* Room for a table; NULL: it does not fit. */
static void *builder_take(struct builder *b, u32 bytes, u32 alignment)
{
	u32 at = (u32)ALIGN_UP(b->used, alignment);

	if (at > ACPI_TABLES_BYTES || bytes > ACPI_TABLES_BYTES - at) {
		b->overflow = true;
		return NULL;
	}
	b->used = at + bytes;
	return b->memory + at;
}

static u32 gpa_of(const struct builder *b, const void *table)
{
	return ACPI_TABLES_GPA + (u32)((const u8 *)table - b->memory);
}

/* What makes the bytes' sum zero. */
static u8 checksum(const void *bytes, u32 count)
{
	const u8 *byte = bytes;
	u8 sum = 0;

	for (u32 i = 0; i < count; i++)
		sum = (u8)(sum + byte[i]);
	return (u8)-sum;
}

static void header_init(struct acpi_header *header, const char *signature, u8 revision, u32 length)
{
	memcpy(header->signature, signature, 4);
	header->length = length;
	header->revision = revision;
	memcpy(header->oem_id, "GODWIT", 6);
	memcpy(header->oem_table_id, "GODWIT  ", 8);
	header->oem_revision = BOARD_VERSION;
	memcpy(header->creator_id, "GDWT", 4);
	header->creator_revision = 1;
	header->checksum = 0;
}

static void header_close(struct acpi_header *header)
{
	header->checksum = checksum(header, header->length);
}

/* --- the tables ------------------------------------------------------------------------------- */

static u32 build_dsdt(struct builder *b)
{
	struct acpi_header *header = builder_take(b, sizeof(*header), 16);
	struct aml aml;

	if (!header)
		return 0;
	aml_init(&aml, b->memory + b->used, ACPI_TABLES_BYTES - b->used);
	acpi_dsdt_write(&aml);
	b->used += aml.used;
	b->overflow |= aml.overflow;
	/* Revision 2: integers of 64 bits. */
	header_init(header, "DSDT", 2, sizeof(*header) + aml.used);
	header_close(header);
	return gpa_of(b, header);
}

static struct acpi_gas io_register(u64 port, u8 bytes)
{
	return (struct acpi_gas){ .space = 1, .bits = (u8)(8 * bytes), .access = bytes == 4 ? 3 : bytes,
				  .address = port };
}

/* A block of registers of two bytes each (ACPI 6.5 4.8.3.1). */
static struct acpi_gas io_block(u64 port, u8 bytes)
{
	return (struct acpi_gas){ .space = 1, .bits = (u8)(8 * bytes), .access = 2, .address = port };
}

static u32 build_facs(struct builder *b)
{
	struct acpi_facs *facs = builder_take(b, sizeof(*facs), 64);

	if (!facs)
		return 0;
	memcpy(facs->signature, "FACS", 4);
	facs->length = sizeof(*facs);
	facs->version = 2;
	return gpa_of(b, facs);
}

static void fadt_registers(struct acpi_fadt *fadt)
{
	fadt->pm1a_event = BOARD_PM1_EVT_PORT;
	fadt->pm1a_control = BOARD_PM1_CNT_PORT;
	fadt->pm_timer = BOARD_PM_TMR_PORT;
	fadt->gpe0 = BOARD_GPE0_PORT;
	fadt->pm1_event_bytes = 4;
	fadt->pm1_control_bytes = 2;
	fadt->pm_timer_bytes = 4;
	fadt->gpe0_bytes = 4;
	fadt->x_pm1a_event = io_block(BOARD_PM1_EVT_PORT, 4);
	fadt->x_pm1a_control = io_register(BOARD_PM1_CNT_PORT, 2);
	fadt->x_pm_timer = io_register(BOARD_PM_TMR_PORT, 4);
	fadt->x_gpe0 = io_block(BOARD_GPE0_PORT, 4);
	fadt->reset = io_register(BOARD_RESET_PORT, 1);
	fadt->reset_value = BOARD_RESET_VALUE;
}

static u32 build_fadt(struct builder *b, u32 dsdt)
{
	struct acpi_fadt *fadt;
	u32 facs = build_facs(b);

	fadt = builder_take(b, sizeof(*fadt), 16);
	if (!fadt)
		return 0;
	header_init(&fadt->header, "FACP", 6, sizeof(*fadt));
	fadt->facs = facs;
	fadt->dsdt = dsdt;
	fadt->x_dsdt = dsdt;
	fadt->sci_irq = BOARD_SCI_GSI;
	fadt->c2_latency = 0xfff; /* above 100 and 1000: there is no C2, no C3 */
	fadt->c3_latency = 0xfff;
	fadt->century = BOARD_RTC_CENTURY;
	fadt->boot_arch = BOOT_ARCH_LEGACY | BOOT_ARCH_NO_VGA;
	/* The power button is fixed hardware: its flag is clear. */
	fadt->flags = FADT_WBINVD | FADT_PROC_C1 | FADT_NO_SLEEP_BUTTON | FADT_NO_RTC_WAKE | FADT_TMR_32 | FADT_RESET;
	fadt_registers(fadt);
	memcpy(&fadt->hypervisor, "GODWIT\0", 8);
	header_close(&fadt->header);
	return gpa_of(b, fadt);
}

struct madt_lapic {
	u8 type, length, uid, apic_id;
	u32 flags;
} packed;

struct madt_ioapic {
	u8 type, length, id, reserved;
	u32 address, gsi_base;
} packed;

struct madt_override {
	u8 type, length, bus, source;
	u32 gsi;
	u16 flags;
} packed;

struct madt_nmi {
	u8 type, length, uid;
	u16 flags;
	u8 lint;
} packed;

enum { MADT_PCAT = 1, LAPIC_ENABLED = 1, INTI_ACTIVE_HIGH = 1, INTI_LEVEL = 3 << 2 };

static u32 build_madt(struct builder *b, u32 vcpus)
{
	u32 bytes = sizeof(struct acpi_header) + 8 + vcpus * sizeof(struct madt_lapic) + sizeof(struct madt_ioapic) +
		    2 * sizeof(struct madt_override) + sizeof(struct madt_nmi);
	struct acpi_header *header = builder_take(b, bytes, 16);
	struct aml out; /* a writer of bytes that knows the end */
	u32 fixed[2] = { BOARD_LAPIC_BASE, MADT_PCAT };
	struct madt_ioapic ioapic = { 1, sizeof(ioapic), 0, 0, BOARD_IOAPIC_BASE, 0 };
	struct madt_override pit = { 2, sizeof(pit), 0, 0, BOARD_PIT_GSI, 0 };
	struct madt_override sci = { 2, sizeof(sci), 0, 9, BOARD_SCI_GSI, INTI_LEVEL | INTI_ACTIVE_HIGH };
	struct madt_nmi nmi = { 4, sizeof(nmi), 0xff, 0, 1 };

	if (!header)
		return 0;
	aml_init(&out, header + 1, bytes - sizeof(*header));
	aml_bytes(&out, fixed, sizeof(fixed));
	for (u32 i = 0; i < vcpus; i++) {
		struct madt_lapic lapic = { 0, sizeof(lapic), (u8)i, (u8)i, LAPIC_ENABLED };

		aml_bytes(&out, &lapic, sizeof(lapic));
	}
	aml_bytes(&out, &ioapic, sizeof(ioapic));
	aml_bytes(&out, &pit, sizeof(pit));
	aml_bytes(&out, &sci, sizeof(sci));
	aml_bytes(&out, &nmi, sizeof(nmi));
	header_init(header, "APIC", 5, bytes);
	header_close(header);
	return gpa_of(b, header);
}

struct acpi_mcfg {
	struct acpi_header header;
	u64 reserved0;
	u64 base;
	u16 segment;
	u8 first_bus, last_bus;
	u32 reserved1;
} packed;

static u32 build_mcfg(struct builder *b)
{
	struct acpi_mcfg *mcfg = builder_take(b, sizeof(*mcfg), 16);

	if (!mcfg)
		return 0;
	header_init(&mcfg->header, "MCFG", 1, sizeof(*mcfg));
	mcfg->base = BOARD_MCFG_BASE;
	header_close(&mcfg->header);
	return gpa_of(b, mcfg);
}

static u32 build_xsdt(struct builder *b, const u64 *tables, u32 count)
{
	u32 bytes = sizeof(struct acpi_header) + count * sizeof(u64);
	struct acpi_header *header = builder_take(b, bytes, 16);

	if (!header)
		return 0;
	memcpy(header + 1, tables, count * sizeof(u64));
	header_init(header, "XSDT", 1, bytes);
	header_close(header);
	return gpa_of(b, header);
}

int acpi_tables_build(u8 *memory, u32 vcpus)
{
	struct builder b = { .memory = memory };
	struct acpi_rsdp *rsdp = builder_take(&b, sizeof(*rsdp), 16);
	u64 tables[3];

	tables[0] = build_fadt(&b, build_dsdt(&b));
	tables[1] = build_madt(&b, vcpus);
	tables[2] = build_mcfg(&b);
	memcpy(rsdp->signature, "RSD PTR ", 8);
	memcpy(rsdp->oem_id, "GODWIT", 6);
	rsdp->revision = 2;
	rsdp->length = sizeof(*rsdp);
	rsdp->xsdt = build_xsdt(&b, tables, ARRAY_SIZE(tables));
	rsdp->checksum = checksum(rsdp, 20);
	rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
	return b.overflow ? -E_RANGE : 0;
}

int acpi_tables_load(struct vm *vm)
{
	unsigned int order = pages_order(ACPI_TABLES_BYTES);
	hpa_t block = pages_alloc(order);
	int error;

	if (block == HPA_NONE)
		return -E_NOMEM;
	error = acpi_tables_build(page_ptr(block), vm->vcpu_count);
	if (!error)
		error = gmem_write(&vm->gmem, ACPI_TABLES_GPA, page_ptr(block), ACPI_TABLES_BYTES);
	pages_free(block, order);
	return error;
}
