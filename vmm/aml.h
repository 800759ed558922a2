/* SPDX-License-Identifier: Apache-2.0 */
/* A tiny writer of ACPI machine language and resource templates (ACPI 6.5 chapters 20.2 and 6.4). Pure. */
#ifndef VMM_AML_H
#define VMM_AML_H

#include "types.h"

struct aml {
	u8 *data;
	u32 size;
	u32 used;
	bool overflow; /* it did not fit: what is there is cut */
};

void aml_init(struct aml *aml, void *data, u32 size);
void aml_bytes(struct aml *aml, const void *bytes, u32 count);

/*
 * Blocks: start returns what end needs. scope and device are followed by terms, package by its
 * elements, buffer by raw bytes.
 */
u32 aml_scope_start(struct aml *aml, const char *name);   /* "\_SB_" */
u32 aml_device_start(struct aml *aml, const char *name);  /* "PCI0" */
u32 aml_package_start(struct aml *aml, u8 elements);
void aml_end(struct aml *aml, u32 start);
u32 aml_buffer_start(struct aml *aml);
void aml_buffer_end(struct aml *aml, u32 start);

/* Name(name, ...): its value follows. */
void aml_name(struct aml *aml, const char *name);
void aml_integer(struct aml *aml, u32 value);
/* EisaId("PNP0A03") */
void aml_eisa_id(struct aml *aml, const char *id);

/* Resource descriptors, within a buffer; resource_end last. */
void aml_resource_io(struct aml *aml, u16 first, u8 count);
void aml_resource_irq(struct aml *aml, u8 irq);
void aml_resource_memory(struct aml *aml, u32 base, u32 bytes);
void aml_resource_bus_window(struct aml *aml, u16 first, u16 last);
void aml_resource_io_window(struct aml *aml, u16 first, u16 last);
void aml_resource_memory_window(struct aml *aml, u32 first, u32 last);
void aml_resource_end(struct aml *aml);

#endif
