/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ways to switch a machine off or to reset it, the best first; each one that works never
 * returns. Any CPU.
 */
#include "arch/x86_64/power.h"

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/init.h"
#include "arch/x86_64/io.h"
#include "arch/x86_64/paging.h"
#include "lib/log.h"

#define PM1_SCI_EN BIT(0)
#define PM1_SLP_TYP(type) ((u16)((type) << 10))
#define PM1_SLP_TYP_MASK ((u16)(7 << 10))
#define PM1_SLP_EN ((u16)(1 << 13))
#define SETTLE_NS (100 * NS_PER_MS)

/* UEFI 8.5.1; the last two arguments are data for the log of the firmware. */
enum efi_reset_type { EFI_RESET_COLD, EFI_RESET_WARM, EFI_RESET_SHUTDOWN };
typedef void __attribute__((ms_abi)) reset_system_fn(enum efi_reset_type type, u64 status,
						     u64 data_size, void *data);

static reset_system_fn *reset_system;

void power_init(void *function)
{
	reset_system = (reset_system_fn *)(uintptr_t)function;
}

static void settle(u64 ns)
{
	u64 deadline = time_ns() + ns;

	while (time_ns() < deadline)
		cpu_relax();
}

/* Fixed power registers answer only in ACPI mode (ACPI 4.8.2.5). */
static void acpi_mode_enter(const struct acpi_info *acpi)
{
	u64 deadline = time_ns() + SETTLE_NS;

	if (port_read16(acpi->pm1a_control_port) & PM1_SCI_EN)
		return;
	if (!acpi->smi_command_port || !acpi->acpi_enable)
		return;
	port_write8(acpi->smi_command_port, acpi->acpi_enable);
	while (!(port_read16(acpi->pm1a_control_port) & PM1_SCI_EN) && time_ns() < deadline)
		cpu_relax();
}

static void sleep_control_write(u16 port, u8 type)
{
	u16 value;

	if (!port)
		return;
	value = port_read16(port) & (u16)~(PM1_SLP_TYP_MASK | PM1_SLP_EN);
	port_write16(port, value | PM1_SLP_TYP(type) | PM1_SLP_EN);
}

static void acpi_soft_off(void)
{
	const struct acpi_info *acpi = acpi_info();

	if (!acpi->have_s5 || !acpi->pm1a_control_port)
		return;
	acpi_mode_enter(acpi);
	sleep_control_write(acpi->pm1a_control_port, acpi->sleep_type_a);
	sleep_control_write(acpi->pm1b_control_port, acpi->sleep_type_b);
	settle(SETTLE_NS);
}

static void acpi_reset(void)
{
	const struct acpi_info *acpi = acpi_info();

	if (!acpi->have_reset)
		return;
	if (acpi->reset_is_memory) {
		volatile u8 *reg = paging_map_device(acpi->reset_address, 1);

		*reg = acpi->reset_value;
	} else {
		port_write8((u16)acpi->reset_address, acpi->reset_value);
	}
	settle(SETTLE_NS);
}

static void firmware_reset(enum efi_reset_type type)
{
	if (!reset_system)
		return;
	paging_open_for_firmware();
	reset_system(type, 0, 0, NULL);
}

/* An exception that can't be delivered, not even as a double fault, shuts the CPU down. */
static noreturn void triple_fault(void)
{
	static const struct {
		u16 limit;
		u64 base;
	} packed nothing;

	__asm__ volatile("lidt %0; ud2" : : "m"(nothing));
	__builtin_unreachable();
}

void power_off(void)
{
	acpi_soft_off();
	port_write16(0x604, 0x2000); /* QEMU, should its ACPI tables be unreadable */
	for (const char *p = "Shutdown"; *p; p++)
		port_write8(0x8900, (u8)*p); /* Bochs */
	firmware_reset(EFI_RESET_SHUTDOWN);
	panic("this machine can't be switched off by software: do it by hand");
}

void power_reset(void)
{
	acpi_reset();
	port_write8(0xcf9, 0x02); /* the PCH's reset control: system reset, then do it */
	port_write8(0xcf9, 0x06);
	settle(SETTLE_NS);
	firmware_reset(EFI_RESET_COLD);
	triple_fault();
}
