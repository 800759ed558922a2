/* SPDX-License-Identifier: Apache-2.0 */
/* Writes AML for acpi_tables.c. Service CPU. */
#include "vmm/aml.h"

#include "lib/string.h"

enum {
	OP_NAME = 0x08, OP_BYTE = 0x0a, OP_WORD = 0x0b, OP_DWORD = 0x0c, OP_SCOPE = 0x10, OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12, OP_EXTENDED = 0x5b, OP_DEVICE = 0x82, OP_ZERO = 0x00, OP_ONE = 0x01,
};

/* PkgLength in its form of three bytes: 4 + 8 + 8 bits (20.2.4). */
#define LENGTH_BYTES 3
/* A buffer's size, always as a word, with its prefix. */
#define BUFFER_SIZE_BYTES 3

void aml_init(struct aml *aml, void *data, u32 size)
{
	*aml = (struct aml){ .data = data, .size = size };
}

void aml_bytes(struct aml *aml, const void *bytes, u32 count)
{
	if (count > aml->size - aml->used) {
		aml->overflow = true;
		return;
	}
	memcpy(aml->data + aml->used, bytes, count);
	aml->used += count;
}

static void put(struct aml *aml, u32 value, u32 count)
{
	aml_bytes(aml, &value, count); /* little-endian */
}

static u32 block_start(struct aml *aml)
{
	u32 start = aml->used;

	put(aml, 0, LENGTH_BYTES);
	return start;
}

/* The length counts itself. */
void aml_end(struct aml *aml, u32 start)
{
	u32 length = aml->used - start;

	if (aml->overflow)
		return;
	aml->data[start] = (u8)(2 << 6 | (length & 0xf));
	aml->data[start + 1] = (u8)(length >> 4);
	aml->data[start + 2] = (u8)(length >> 12);
}

u32 aml_scope_start(struct aml *aml, const char *name)
{
	u32 start;

	put(aml, OP_SCOPE, 1);
	start = block_start(aml);
	aml_bytes(aml, name, (u32)strlen(name));
	return start;
}

u32 aml_device_start(struct aml *aml, const char *name)
{
	u32 start;

	put(aml, OP_EXTENDED | OP_DEVICE << 8, 2);
	start = block_start(aml);
	aml_bytes(aml, name, 4);
	return start;
}

u32 aml_package_start(struct aml *aml, u8 elements)
{
	u32 start;

	put(aml, OP_PACKAGE, 1);
	start = block_start(aml);
	put(aml, elements, 1);
	return start;
}

u32 aml_buffer_start(struct aml *aml)
{
	u32 start;

	put(aml, OP_BUFFER, 1);
	start = block_start(aml);
	put(aml, OP_WORD, BUFFER_SIZE_BYTES);
	return start;
}

void aml_buffer_end(struct aml *aml, u32 start)
{
	u32 bytes = aml->used - start - LENGTH_BYTES - BUFFER_SIZE_BYTES;

	if (aml->overflow)
		return;
	aml->data[start + LENGTH_BYTES + 1] = (u8)bytes;
	aml->data[start + LENGTH_BYTES + 2] = (u8)(bytes >> 8);
	aml_end(aml, start);
}

void aml_name(struct aml *aml, const char *name)
{
	put(aml, OP_NAME, 1);
	aml_bytes(aml, name, (u32)strlen(name));
}

void aml_integer(struct aml *aml, u32 value)
{
	if (value <= 1) {
		put(aml, value ? OP_ONE : OP_ZERO, 1);
	} else if (value <= 0xff) {
		put(aml, OP_BYTE, 1);
		put(aml, value, 1);
	} else if (value <= 0xffff) {
		put(aml, OP_WORD, 1);
		put(aml, value, 2);
	} else {
		put(aml, OP_DWORD, 1);
		put(aml, value, 4);
	}
}

static u32 hex_digit(char c)
{
	return (u32)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Three letters of 5 bits, four hex digits, the bytes swapped (19.3.4). */
void aml_eisa_id(struct aml *aml, const char *id)
{
	u32 value = 0;

	for (u32 i = 0; i < 3; i++)
		value = value << 5 | (u32)(id[i] - '@');
	for (u32 i = 3; i < 7; i++)
		value = value << 4 | hex_digit(id[i]);
	put(aml, OP_DWORD, 1);
	put(aml, __builtin_bswap32(value), 4);
}

/* --- resources -------------------------------------------------------------------------------- */

void aml_resource_io(struct aml *aml, u16 first, u8 count)
{
	put(aml, 0x47, 1); /* I/O port descriptor */
	put(aml, 1, 1);    /* 16-bit decode */
	put(aml, first, 2);
	put(aml, first, 2);
	put(aml, 1, 1);    /* alignment */
	put(aml, count, 1);
}

void aml_resource_irq(struct aml *aml, u8 irq)
{
	put(aml, 0x22, 1); /* IRQ descriptor without flags: edge, active high, exclusive */
	put(aml, 1u << irq, 2);
}

void aml_resource_memory(struct aml *aml, u32 base, u32 bytes)
{
	put(aml, 0x86, 1); /* 32-bit fixed memory */
	put(aml, 9, 2);
	put(aml, 1, 1);    /* writeable */
	put(aml, base, 4);
	put(aml, bytes, 4);
}

/* Address space descriptors: fixed minimum and maximum, positive decode (6.4.3.5). */
#define WINDOW_FLAGS 0x0c

static void word_window(struct aml *aml, u8 type, u8 type_flags, u16 first, u16 last)
{
	put(aml, 0x88, 1);
	put(aml, 13, 2);
	put(aml, type, 1);
	put(aml, WINDOW_FLAGS, 1);
	put(aml, type_flags, 1);
	put(aml, 0, 2); /* granularity */
	put(aml, first, 2);
	put(aml, last, 2);
	put(aml, 0, 2); /* translation */
	put(aml, (u32)last - first + 1, 2);
}

void aml_resource_bus_window(struct aml *aml, u16 first, u16 last)
{
	word_window(aml, 2, 0, first, last);
}

void aml_resource_io_window(struct aml *aml, u16 first, u16 last)
{
	word_window(aml, 1, 3, first, last); /* the entire range */
}

void aml_resource_memory_window(struct aml *aml, u32 first, u32 last)
{
	put(aml, 0x87, 1);
	put(aml, 23, 2);
	put(aml, 0, 1); /* memory */
	put(aml, WINDOW_FLAGS, 1);
	put(aml, 1, 1); /* read/write, not cacheable */
	put(aml, 0, 4);
	put(aml, first, 4);
	put(aml, last, 4);
	put(aml, 0, 4);
	put(aml, last - first + 1, 4);
}

void aml_resource_end(struct aml *aml)
{
	put(aml, 0x79, 2); /* checksum 0: not used */
}
