/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads every file of \godwit\ on the volume that we were loaded from; if that has none (PXE, or
 * an emulator's -kernel), of the first volume that has. Boot CPU, boot services.
 */
#include "boot/efi_boot.h"

#include "lib/format.h"
#include "lib/string.h"
#include "mm/pages.h"

#define ENTRY_BYTES 1024 /* EFI_FILE_INFO with the longest name that FAT has (255 characters) */

static EFI_GUID volume_guid = EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID;
static CHAR16 folder_name[] = { '\\', 'g', 'o', 'd', 'w', 'i', 't', 0 };

hpa_t efi_alloc_pages(EFI_BOOT_SERVICES *bs, u64 pages, hpa_t below)
{
	EFI_PHYSICAL_ADDRESS base = below - 1;

	if (EFI_ERROR(bs->AllocatePages(AllocateMaxAddress, EfiLoaderData, pages, &base)))
		return 0;
	return base;
}

static EFI_FILE_HANDLE open_folder(EFI_BOOT_SERVICES *bs, EFI_HANDLE device)
{
	EFI_SIMPLE_FILE_SYSTEM_PROTOCOL *volume;
	EFI_FILE_HANDLE root;
	EFI_FILE_HANDLE folder;

	if (!device || EFI_ERROR(bs->HandleProtocol(device, &volume_guid, (void **)&volume)))
		return NULL;
	if (EFI_ERROR(volume->OpenVolume(volume, &root)))
		return NULL;
	if (EFI_ERROR(root->Open(root, &folder, folder_name, EFI_FILE_MODE_READ, 0)))
		folder = NULL;
	root->Close(root);
	return folder;
}

static EFI_FILE_HANDLE find_folder(EFI_HANDLE image, EFI_BOOT_SERVICES *bs)
{
	EFI_GUID image_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;
	EFI_LOADED_IMAGE *loaded;
	EFI_FILE_HANDLE folder = NULL;
	EFI_HANDLE *handles;
	UINTN count;

	if (!EFI_ERROR(bs->HandleProtocol(image, &image_guid, (void **)&loaded)))
		folder = open_folder(bs, loaded->DeviceHandle);
	if (folder)
		return folder;
	if (EFI_ERROR(bs->LocateHandleBuffer(ByProtocol, &volume_guid, NULL, &count, &handles)))
		return NULL;
	for (UINTN i = 0; i < count && !folder; i++)
		folder = open_folder(bs, handles[i]);
	bs->FreePool(handles);
	return folder;
}

/* File names are ASCII here; false for those that are not or that are too long. */
static bool copy_name(char name[BOOT_FILE_NAME_BYTES], const CHAR16 *from)
{
	u32 n = 0;

	for (; from[n]; n++) {
		if (n == BOOT_FILE_NAME_BYTES - 1 || from[n] < ' ' || from[n] > '~')
			return false;
		name[n] = (char)from[n];
	}
	name[n] = '\0';
	return true;
}

/* Returns what is wrong with the file, or NULL. */
static const char *read_file(EFI_BOOT_SERVICES *bs, EFI_FILE_HANDLE folder,
			     const EFI_FILE_INFO *entry, struct boot_file *file)
{
	EFI_FILE_HANDLE handle;
	hpa_t data = 0;
	u64 done = 0;
	EFI_STATUS status;

	file->bytes = entry->FileSize;
	data = efi_alloc_pages(bs, MAX(DIV_UP(file->bytes, PAGE_SIZE), 1), HPA_NONE);
	if (!data)
		return "is too big for this machine's memory";
	status = folder->Open(folder, &handle, (CHAR16 *)(uintptr_t)entry->FileName,
			      EFI_FILE_MODE_READ, 0);
	if (EFI_ERROR(status))
		return "can't be opened";
	/* In pieces: some firmware can't read more than 4 GiB, or more than its buffers, at once. */
	while (done < file->bytes) {
		UINTN n = MIN(file->bytes - done, MIB(16));

		status = handle->Read(handle, &n, page_ptr(data + done));
		if (EFI_ERROR(status) || n == 0)
			break;
		done += n;
	}
	handle->Close(handle);
	if (done < file->bytes)
		return "can't be read";
	file->data = page_ptr(data);
	return NULL;
}

static void report(struct boot_info *info, const char *name, const char *problem)
{
	size_t used = strlen(info->files_error);

	str_format(info->files_error + used, sizeof(info->files_error) - used, "%s%s %s",
		   used ? "; " : "", name, problem);
}

void efi_read_files(EFI_HANDLE image, EFI_BOOT_SERVICES *bs, struct boot_info *info)
{
	static u8 aligned(8) buffer[ENTRY_BYTES];
	EFI_FILE_HANDLE folder = find_folder(image, bs);

	if (!folder) {
		report(info, "\\godwit\\", "is on no volume");
		return;
	}
	for (;;) {
		const EFI_FILE_INFO *entry = (const EFI_FILE_INFO *)buffer;
		struct boot_file *file = &info->files[info->file_count];
		UINTN n = sizeof(buffer);
		const char *problem;

		if (EFI_ERROR(folder->Read(folder, &n, buffer))) {
			report(info, "\\godwit\\", "can't be read wholly");
			break;
		}
		if (n == 0)
			break;
		if (entry->Attribute & EFI_FILE_DIRECTORY)
			continue;
		if (info->file_count == BOOT_FILES_MAX) {
			report(info, "\\godwit\\", "has too many files");
			break;
		}
		if (!copy_name(file->name, entry->FileName)) {
			report(info, "a file", "has a name that is too long or not ASCII");
			continue;
		}
		problem = read_file(bs, folder, entry, file);
		if (problem)
			report(info, file->name, problem);
		else
			info->file_count++;
	}
	folder->Close(folder);
}
