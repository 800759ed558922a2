/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UEFI entry: learns from the firmware what the hypervisor wants to know, leaves boot
 * services, and hands over to boot_main() on a stack of our own. Boot CPU only.
 */
#include "boot/efi_boot.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/init.h"
#include "boot/main.h"
#include "drivers/serial.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"

/* Called by gnu-efi's _start, after it has relocated the image. */
EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);

static struct boot_info boot_info;

extern u8 image_start[];
extern u8 image_end[];

static bool guid_equal(const EFI_GUID *a, const EFI_GUID *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static hpa_t find_rsdp(const EFI_SYSTEM_TABLE *system)
{
	static const EFI_GUID acpi_20 = ACPI_20_TABLE_GUID;

	for (UINTN i = 0; i < system->NumberOfTableEntries; i++)
		if (guid_equal(&system->ConfigurationTable[i].VendorGuid, &acpi_20))
			return page_hpa(system->ConfigurationTable[i].VendorTable);
	return 0;
}

static void find_framebuffer(EFI_BOOT_SERVICES *bs, struct boot_info *info)
{
	EFI_GUID gop_guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
	EFI_GRAPHICS_OUTPUT_PROTOCOL *gop = NULL;
	const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode;

	if (EFI_ERROR(bs->LocateProtocol(&gop_guid, NULL, (void **)&gop)) || !gop->Mode)
		return;
	mode = gop->Mode->Info;
	/* Both of these are 32 bits a pixel; white is white in either order. */
	if (mode->PixelFormat != PixelRedGreenBlueReserved8BitPerColor &&
	    mode->PixelFormat != PixelBlueGreenRedReserved8BitPerColor)
		return;
	info->framebuffer = gop->Mode->FrameBufferBase;
	info->framebuffer_width = mode->HorizontalResolution;
	info->framebuffer_height = mode->VerticalResolution;
	info->framebuffer_pitch_bytes = mode->PixelsPerScanLine * 4;
}

/* Days since 1970-01-01 of a date of the Gregorian calendar. */
static u64 days_since_1970(u32 year, u32 month, u32 day)
{
	/* Years that begin in March: the leap day is their last day. */
	u32 y = month > 2 ? year : year - 1;
	u32 m = month > 2 ? month - 3 : month + 9;

	return 365ull * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

static u64 wall_time(EFI_RUNTIME_SERVICES *rs)
{
	EFI_TIME t;
	u64 seconds;

	if (EFI_ERROR(rs->GetTime(&t, NULL)) || t.Year < 1970 || t.Month < 1 || t.Month > 12)
		return 0;
	seconds = days_since_1970(t.Year, t.Month, t.Day) * 86400 + t.Hour * 3600ull +
		  t.Minute * 60ull + t.Second;
	/* UTC = local time + TimeZone minutes (UEFI 8.3). */
	if (t.TimeZone != EFI_UNSPECIFIED_TIMEZONE)
		seconds += (u64)(s64)t.TimeZone * 60;
	return seconds;
}

/* The other CPUs start in real mode, so in a page below 1 MiB; the highest is the least wanted. */
static void find_trampoline(EFI_BOOT_SERVICES *bs, struct boot_info *info)
{
	info->trampoline = efi_alloc_pages(bs, 1, 0xa0000);
}

no_stack_protector EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system)
{
	struct boot_info *info = &boot_info;
	EFI_BOOT_SERVICES *bs = system->BootServices;

	info->entry_tsc = tsc_read();
	stack_guard_init();
	log_set_early_sink(serial_panic_write);
	/* The firmware's watchdog would reset the machine after five minutes. */
	bs->SetWatchdogTimer(0, 0, 0, NULL);
	info->image_base = page_hpa(image_start);
	info->image_bytes = (u64)(image_end - image_start);
	info->rsdp = find_rsdp(system);
	info->reset_system = (void *)system->RuntimeServices->ResetSystem;
	info->wall_time_s = wall_time(system->RuntimeServices);
	find_framebuffer(bs, info);
	find_trampoline(bs, info);
	efi_read_files(image, bs, info);
	if (!efi_exit(image, bs, info)) {
		log_error("the firmware refuses ExitBootServices: Godwit can't start");
		return EFI_LOAD_ERROR;
	}
	startup_switch_stack(boot_main, info);
}
