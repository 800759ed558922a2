/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source's part of migrate --verify: asks for the peer's digests and compares them with its own
 * memory, which is paused; where they differ the move ends and the guest runs on here. Called by
 * send.c and send_answer.c; service CPU.
 */
#include "migrate/sender.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/bitmap.h"
#include "lib/fault.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/vm.h"

size_t sender_ask_digests(struct sender *s, void *record)
{
	struct wire_verify *body = (struct wire_verify *)((u8 *)record + sizeof(struct record_header));

	if (!s->wants_verify)
		return 0;
	/* Made up after the guest has written its last page: it can't have chosen two that look the same. */
	for (u32 i = 0; i < sizeof(body->key); i += sizeof(u64)) {
		u64 word = random_u64();

		memcpy(body->key + i, &word, sizeof(word));
	}
	verify_start(&s->verify, body->key);
	return record_seal(&s->stream, record, RECORD_VERIFY, sizeof(*body));
}

void sender_digests(struct sender *s)
{
	const struct gmem *gm = &s->vm->gmem;
	u64 page = 0;
	const struct wire_verified *theirs = (const struct wire_verified *)s->body;
	int error = verify_compare(&s->verify, gm, theirs, s->stream.header.length, &page);

	s->progress.pages_verified = s->verify.next;
	s->progress.verify_ns = time_ns() - s->end_ns;
	if (error == -E_REFUSED)
		sender_fail(s, false, "page %lu of its memory (address 0x%lx) is not the same on %s: try again; if it "
			    "stays so, test the memory of both hosts", (unsigned long)page,
			    (unsigned long)gmem_page_gpa(gm, page), s->peer.name);
	else if (error)
		sender_fail(s, false, "%s broke the protocol: a VERIFIED record is not for the page that was due",
			    s->peer.name);
}

bool sender_verified(const struct sender *s)
{
	return verify_whole(&s->verify, &s->vm->gmem);
}

void sender_drop_page(struct sender *s)
{
	u64 last = s->vm->gmem.pages;

	if (!fault_hit("drop-dirty-page"))
		return;
	for (u64 page = 0; (page = bitmap_next(s->bitmap, s->vm->gmem.pages, page)) < s->vm->gmem.pages; page++)
		last = page;
	if (last == s->vm->gmem.pages)
		return;
	bitmap_clear(s->bitmap, last);
	log_warn("fault: page %lu is dropped", (unsigned long)last);
}
