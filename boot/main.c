/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order in which everything comes up, and the service loop. The boot CPU becomes the service
 * CPU; the others leave cpu_start_others() into vcpu_loop().
 */
#include "boot/main.h"

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/init.h"
#include "drivers/serial.h"
#include "lib/format.h"
#include "lib/log.h"
#include "mm/pages.h"
#include "version.h"

#define COM1_PORT 0x3f8
#define COM1_IRQ 4
#define COM1_BAUD 115200

/* Own page tables, then nothing of the firmware's is in use any more and its memory is ours. */
static void memory_init(const struct boot_info *info)
{
	paging_init(info->table_pool, info->table_pool_bytes);
	for (u32 i = 0; i < info->memory_count; i++)
		paging_map_memory(info->memory[i].base, info->memory[i].bytes);
	paging_start();
	apic_init();
	smp_park_others();
	for (u32 i = 0; i < info->free_count; i++)
		pages_add(info->free[i].base, info->free[i].bytes);
	paging_pool_release();
}

static void console_init(void)
{
	log_set_panic_sink(serial_panic_write);
	if (serial_init(COM1_PORT, COM1_BAUD, COM1_IRQ))
		log_warn("serial: there is no COM1 at %#x", COM1_PORT);
	log_set_early_sink(NULL);
}

static void log_machine(const struct boot_info *info)
{
	char memory[32];

	log_info("godwit %s: %u CPUs (%u in the firmware's tables), %s free", godwit_version,
		 cpu_count(), acpi_info()->cpu_count,
		 format_bytes(memory, sizeof(memory), pages_free_count() * PAGE_SIZE));
	log_info("TSC at %llu kHz, files: %u", (unsigned long long)tsc_khz(), info->file_count);
	if (info->files_error[0])
		log_warn("boot: %s", info->files_error);
}

static void vcpu_loop(void)
{
	for (;;) {
		cpu_take_pending();
		cpu_idle(0);
	}
}

static noreturn void service_loop(void)
{
	char text[1024];
	u64 cursor = 0;

	for (;;) {
		bool more = false;

		cpu_take_pending();
		while (serial_room() >= sizeof(text)) {
			size_t n = log_read(&cursor, text, sizeof(text));

			if (!n)
				break;
			serial_write(text, n);
		}
		more |= serial_poll();
		if (!more)
			cpu_idle(0);
	}
}

void boot_main(void *argument)
{
	const struct boot_info *info = argument;

	traps_init();
	memory_init(info);
	acpi_init(info->rsdp);
	time_init(info->entry_tsc, info->wall_time_s);
	irq_init();
	power_init(info->reset_system);
	console_init();
	smp_init(info->trampoline);
	cpu_start_others(vcpu_loop);
	log_machine(info);
	service_loop();
}
