/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order in which everything comes up, and the service loop. The boot CPU becomes the service
 * CPU; the others leave cpu_start_others() into vcpu_main().
 */
#include "boot/main.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/hvm/backends.h"
#include "arch/x86_64/init.h"
#include "boot/host.h"
#include "console/console.h"
#include "drivers/framebuffer.h"
#include "drivers/serial.h"
#include "errors.h"
#include "lib/format.h"
#include "lib/log.h"
#include "migrate/beacons.h"
#include "migrate/migrate.h"
#include "migrate/pipe.h"
#include "migrate/verify.h"
#include "mm/dirty.h"
#include "mm/pages.h"
#include "net/net.h"
#include "net/tcp_pipe.h"
#include "net/tls/tls.h"
#include "net/udp_port.h"
#include "version.h"
#include "vmm/hvm.h"
#include "vmm/sched.h"
#include "vmm/vm.h"

static struct host_config host_config;

/* Not the first MiB: some firmware's management mode scribbles on it, whatever its map says. */
static void memory_add(hpa_t base, hpa_t end)
{
	base = MAX(base, MIB(1));
	if (base < end)
		pages_add(base, end - base);
}

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
		memory_add(info->free[i].base, info->free[i].base + info->free[i].bytes);
	paging_pool_release();
}

/* From here on lines queue up for the port, instead of being waited for. */
static void serial_start(void)
{
	if (serial_init(host_config.serial_port, host_config.serial_baud, host_config.serial_irq))
		log_error("serial: nothing answers at port %#x: this host has no console",
			  host_config.serial_port);
	log_set_early_sink(serial_write);
}

/* How guests' writes are tracked: the best way that there is, or the one that godwit.cfg asks for. */
static void dirty_method_choose(void)
{
	bool d_bits = hvm->npt_format()->dirty_bit;
	bool list = hvm->has_dirty_list && hvm->has_dirty_list();
	const struct dirty_method *wanted = dirty_choose(host_config.dirty_log, d_bits, list);

	if (!wanted)
		log_warn("dirty_log = '%s': this CPU has not got it", host_config.dirty_log);
	dirty_method = wanted ? wanted : dirty_choose("auto", d_bits, list);
}

/* Without an extension the console still comes up, to say so. */
static void hvm_choose(void)
{
	static const struct hvm_ops *const backends[] = { &vmx_ops, &svm_ops };
	const char *why[ARRAY_SIZE(backends)];

	for (u32 i = 0; i < ARRAY_SIZE(backends); i++) {
		why[i] = backends[i]->missing();
		if (!why[i]) {
			hvm = backends[i];
			dirty_method_choose();
			if (hvm->apic_assist)
				hvm->apic_assist(host_config.apicv);
			return;
		}
	}
	for (u32 i = 0; i < ARRAY_SIZE(backends); i++)
		log_error("guests can't run here: %s", why[i]);
}

/* A CPU where it fails gets no guests. */
static void hvm_start(void)
{
	if (!hvm || !hvm->cpu_on(cpu_self()))
		return;
	log_error("CPU %u: %s can't be switched on: it runs no guests", cpu_self()->index, hvm->name);
	cpu_self()->online = false;
}

/* The other CPUs: for ever. */
static void vcpu_main(void)
{
	hvm_start();
	while (!cpu_self()->online) {
		cpu_idle(0);
		cpu_take_pending();
	}
	sched_main();
}

static void machine_log(void)
{
	char memory[32];

	log_info("godwit %s: %u CPU%s, %s free, %s%s%s", godwit_version, cpu_count(),
		 cpu_count() == 1 ? "" : "s",
		 format_bytes(memory, sizeof(memory), pages_free_count() * PAGE_SIZE),
		 hvm ? hvm->name : "no guests possible", hvm ? " with " : "",
		 hvm ? hvm->npt_name : "");
}

/* Of the memory that the firmware left us, what guests can't have; the ESP's files don't count. */
static u64 held_bytes(const struct boot_info *info)
{
	u64 ours = info->image_bytes + info->table_pool_bytes + PAGE_SIZE; /* the trampoline's page */

	for (u32 i = 0; i < info->free_count; i++)
		ours += info->free[i].bytes;
	return ours - pages_free_count() * PAGE_SIZE;
}

static void net_start(void)
{
	static struct net_config config;
	char why[160] = "";
	int error;

	host_net_config(&host_config, &config);
	error = net_init(&config, why, sizeof(why));
	if (error)
		log_error("network: it does not start: %s", error_name(error));
	else if (why[0])
		log_warn("network: no NIC: %s", why);
}

static void migrate_start_service(void)
{
	static const struct pipe_maker tcp = {
		.connect = tcp_pipe_connect,
		.listen = tcp_pipe_listen,
		.secure = tls_pipe_secure,
		.missing = tls_missing,
	};
	static const struct beacon_auth proof = {
		.seal = tls_seal,
		.open = tls_unseal,
		.introduce = tls_introduce,
		.meet = tls_meet,
	};
	static struct migrate_config config;

	static_assert(TLS_HOSTS_MAX >= MIGRATE_PEERS_MAX, "every peer can be met");
	host_migrate_config(&host_config, &config);
	migrate_init(&config, &tcp);
	verify_init(tls_digest);
	beacons_init(&udp_port, tls_has_proof() ? &proof : NULL);
}

static void console_start(const struct boot_info *info)
{
	static const struct console_io io = {
		.read = serial_read,
		.room = serial_room,
		.write = serial_write,
		.drain = serial_drain,
	};

	vm_set_listener(console_guest_event);
	log_info("the hypervisor holds %lu bytes", held_bytes(info));
	log_info("ready %lu TSC ticks after the UEFI entry", tsc_read() - info->entry_tsc);
	console_init(&io, &host_config);
	log_set_early_sink(NULL);
	console_start_guests();
}

/* A line at a time: drawing takes long, and others want to run too. True: there are more. */
static bool screen_poll(void)
{
	static u64 cursor;
	char text[320];
	size_t n = log_read(&cursor, text, sizeof(text));

	framebuffer_write(text, n);
	return n != 0;
}

static void panic_sink(const char *text, size_t len)
{
	serial_panic_write(text, len);
	framebuffer_write(text, len);
}

static u64 service_deadline(void)
{
	u64 next = net_next_deadline();

	next = deadline_sooner(next, serial_next_deadline());
	next = deadline_sooner(next, console_next_deadline());
	next = deadline_sooner(next, migrate_next_deadline());
	if (cpu_count() == 1)
		next = deadline_sooner(next, sched_next_deadline());
	return next;
}

static noreturn void service_loop(void)
{
	for (;;) {
		bool more;

		cpu_take_pending();
		more = serial_poll();
		more |= console_poll();
		more |= net_poll();
		more |= vm_service();
		more |= migrate_poll();
		more |= screen_poll();
		if (cpu_count() == 1)
			more |= sched_run_slice();
		/* What the others have written meanwhile is on its way before anybody sleeps. */
		more |= serial_poll();
		if (!more)
			cpu_idle(service_deadline());
	}
}

void boot_main(void *argument)
{
	const struct boot_info *info = argument;

	log_set_panic_sink(panic_sink);
	traps_init();
	memory_init(info);
	acpi_init(info->rsdp);
	time_init(info->entry_tsc, info->wall_time_s);
	irq_init();
	power_init(info->reset_system);
	smp_init(info->trampoline);
	host_read_files(info, &host_config);
	serial_start();
	framebuffer_init(info->framebuffer, info->framebuffer_width, info->framebuffer_height,
			 info->framebuffer_pitch_bytes);
	hvm_choose();
	hvm_start();
	cpu_start_others(vcpu_main);
	machine_log();
	net_start();
	host_tls_start(&host_config);
	if (hvm)
		migrate_start_service();
	console_start(info);
	service_loop();
}
