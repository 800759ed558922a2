/* SPDX-License-Identifier: Apache-2.0 */
/* The instruction decoder: bytes from GNU as with what they mean, cut ones, and garbage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "errors.h"
#include "vmm/decode.h"
#include "vmm/hvm.h"

#define NO INSN_NO_REG

static const struct {
	const char *text;
	u8 bytes[15];
	u8 len;
	enum insn_mode mode;
	enum insn_op op;
	u8 size;
	bool to_memory;
	enum insn_operand operand;
	u8 reg, reg_size;
	bool high_byte;
	u64 imm;
	enum insn_segment segment;
	u8 address_size, base, index, scale;
	u64 disp;
	bool rep;
} good[] = {
#define M64 INSN_MODE_64
#define M32 INSN_MODE_32
#define M16 INSN_MODE_16
#define REG(r, size) INSN_REG, r, size, false, 0
#define HIGH(r) INSN_REG, r, 1, true, 0
#define IMM(value) INSN_IMM, 0, 0, false, (u64)(s64)(value)
#define NONE INSN_NONE, 0, 0, false, 0
#define AT(base, disp) INSN_DS, 8, base, NO, 0, (u64)(s64)(disp), false
	{ "mov %al,(%rdi)", { 0x88, 0x07 }, 2, M64, INSN_MOV, 1, true, REG(GPR_RAX, 1), AT(GPR_RDI, 0) },
	{ "mov %ah,0x10(%rsi)", { 0x88, 0x66, 0x10 }, 3, M64, INSN_MOV, 1, true, HIGH(GPR_RAX), AT(GPR_RSI, 0x10) },
	{ "mov %eax,0x10(%rbx,%rcx,4)", { 0x89, 0x44, 0x8b, 0x10 }, 4, M64, INSN_MOV, 4, true, REG(GPR_RAX, 4),
	  INSN_DS, 8, GPR_RBX, GPR_RCX, 2, 0x10, false },
	{ "mov %r9,(%r12)", { 0x4d, 0x89, 0x0c, 0x24 }, 4, M64, INSN_MOV, 8, true, REG(GPR_R9, 8), AT(GPR_R12, 0) },
	{ "mov %cx,-2(%r13)", { 0x66, 0x41, 0x89, 0x4d, 0xfe }, 5, M64, INSN_MOV, 2, true, REG(GPR_RCX, 2),
	  AT(GPR_R13, -2) },
	{ "movl $0x12345678,0x80(%rdi)", { 0xc7, 0x87, 0x80, 0, 0, 0, 0x78, 0x56, 0x34, 0x12 }, 10, M64, INSN_MOV, 4,
	  true, IMM(0x12345678), AT(GPR_RDI, 0x80) },
	{ "movq $-2,0x1234(%rip)", { 0x48, 0xc7, 0x05, 0x34, 0x12, 0, 0, 0xfe, 0xff, 0xff, 0xff }, 11, M64, INSN_MOV,
	  8, true, IMM(-2), AT(INSN_RIP, 0x1234) },
	{ "movb $7,0x80(%rsp)", { 0xc6, 0x84, 0x24, 0x80, 0, 0, 0, 7 }, 8, M64, INSN_MOV, 1, true, IMM(7),
	  AT(GPR_RSP, 0x80) },
	{ "mov 0x20(%rdx),%r10d", { 0x44, 0x8b, 0x52, 0x20 }, 4, M64, INSN_MOV, 4, false, REG(GPR_R10, 4),
	  AT(GPR_RDX, 0x20) },
	{ "mov (%rax),%spl", { 0x40, 0x8a, 0x20 }, 3, M64, INSN_MOV, 1, false, REG(GPR_RSP, 1), AT(GPR_RAX, 0) },
	{ "movabs 0x1122334455667788,%eax", { 0xa1, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11 }, 9, M64, INSN_MOV,
	  4, false, REG(GPR_RAX, 4), AT(NO, 0x1122334455667788) },
	{ "movabs %al,0xfee00000", { 0xa2, 0, 0, 0xe0, 0xfe, 0, 0, 0, 0 }, 9, M64, INSN_MOV, 1, true, REG(GPR_RAX, 1),
	  AT(NO, 0xfee00000) },
	{ "movzbl (%rcx),%eax", { 0x0f, 0xb6, 0x01 }, 3, M64, INSN_MOVZX, 1, false, REG(GPR_RAX, 4), AT(GPR_RCX, 0) },
	{ "movzwq 2(%rcx),%rdx", { 0x48, 0x0f, 0xb7, 0x51, 0x02 }, 5, M64, INSN_MOVZX, 2, false, REG(GPR_RDX, 8),
	  AT(GPR_RCX, 2) },
	{ "movsbl (%rcx),%eax", { 0x0f, 0xbe, 0x01 }, 3, M64, INSN_MOVSX, 1, false, REG(GPR_RAX, 4), AT(GPR_RCX, 0) },
	{ "movslq (%rcx),%rdx", { 0x48, 0x63, 0x11 }, 3, M64, INSN_MOVSX, 4, false, REG(GPR_RDX, 8), AT(GPR_RCX, 0) },
	{ "andl $0xfffffff0,(%rdi)", { 0x83, 0x27, 0xf0 }, 3, M64, INSN_AND, 4, true, IMM(-16), AT(GPR_RDI, 0) },
	{ "orl $1,0x20(%rdi)", { 0x83, 0x4f, 0x20, 0x01 }, 4, M64, INSN_OR, 4, true, IMM(1), AT(GPR_RDI, 0x20) },
	{ "lock orb $0x80,(%rdi)", { 0xf0, 0x80, 0x0f, 0x80 }, 4, M64, INSN_OR, 1, true, IMM(-128), AT(GPR_RDI, 0) },
	{ "addq $-1,(%rdi)", { 0x48, 0x83, 0x07, 0xff }, 4, M64, INSN_ADD, 8, true, IMM(-1), AT(GPR_RDI, 0) },
	{ "sub %eax,(%rdi)", { 0x29, 0x07 }, 2, M64, INSN_SUB, 4, true, REG(GPR_RAX, 4), AT(GPR_RDI, 0) },
	{ "cmp (%rdi),%eax", { 0x3b, 0x07 }, 2, M64, INSN_CMP, 4, false, REG(GPR_RAX, 4), AT(GPR_RDI, 0) },
	{ "xorw $0x1234,(%rdi)", { 0x66, 0x81, 0x37, 0x34, 0x12 }, 5, M64, INSN_XOR, 2, true, IMM(0x1234),
	  AT(GPR_RDI, 0) },
	{ "testb $1,(%rdi)", { 0xf6, 0x07, 0x01 }, 3, M64, INSN_TEST, 1, true, IMM(1), AT(GPR_RDI, 0) },
	{ "test %ecx,(%rdi)", { 0x85, 0x0f }, 2, M64, INSN_TEST, 4, true, REG(GPR_RCX, 4), AT(GPR_RDI, 0) },
	{ "xchg %eax,(%rdi)", { 0x87, 0x07 }, 2, M64, INSN_XCHG, 4, true, REG(GPR_RAX, 4), AT(GPR_RDI, 0) },
	{ "lock xadd %rcx,(%rdi)", { 0xf0, 0x48, 0x0f, 0xc1, 0x0f }, 5, M64, INSN_XADD, 8, true, REG(GPR_RCX, 8),
	  AT(GPR_RDI, 0) },
	{ "lock cmpxchg %ecx,(%rdi)", { 0xf0, 0x0f, 0xb1, 0x0f }, 4, M64, INSN_CMPXCHG, 4, true, REG(GPR_RCX, 4),
	  AT(GPR_RDI, 0) },
	{ "btl $5,(%rdi)", { 0x0f, 0xba, 0x27, 0x05 }, 4, M64, INSN_BT, 4, true, IMM(5), AT(GPR_RDI, 0) },
	{ "bts %rax,(%rdi)", { 0x48, 0x0f, 0xab, 0x07 }, 4, M64, INSN_BTS, 8, true, REG(GPR_RAX, 8), AT(GPR_RDI, 0) },
	{ "notl (%rdi)", { 0xf7, 0x17 }, 2, M64, INSN_NOT, 4, true, NONE, AT(GPR_RDI, 0) },
	{ "negb (%rdi)", { 0xf6, 0x1f }, 2, M64, INSN_NEG, 1, true, NONE, AT(GPR_RDI, 0) },
	{ "incl (%rdi)", { 0xff, 0x07 }, 2, M64, INSN_INC, 4, true, NONE, AT(GPR_RDI, 0) },
	{ "decw (%rdi)", { 0x66, 0xff, 0x0f }, 3, M64, INSN_DEC, 2, true, NONE, AT(GPR_RDI, 0) },
	{ "movnti %rax,(%rdi)", { 0x48, 0x0f, 0xc3, 0x07 }, 4, M64, INSN_MOV, 8, true, REG(GPR_RAX, 8), AT(GPR_RDI, 0) },
	{ "rep stosl", { 0xf3, 0xab }, 2, M64, INSN_STOS, 4, false, NONE, INSN_DS, 8, NO, NO, 0, 0, true },
	{ "movsb", { 0xa4 }, 1, M64, INSN_MOVS, 1, false, NONE, AT(NO, 0) },
	{ "rep movsq", { 0xf3, 0x48, 0xa5 }, 3, M64, INSN_MOVS, 8, false, NONE, INSN_DS, 8, NO, NO, 0, 0, true },
	{ "lodsw", { 0x66, 0xad }, 2, M64, INSN_LODS, 2, false, NONE, AT(NO, 0) },
	{ "rep insb", { 0xf3, 0x6c }, 2, M64, INSN_INS, 1, false, NONE, INSN_DS, 8, NO, NO, 0, 0, true },
	{ "outsl", { 0x6f }, 1, M64, INSN_OUTS, 4, false, NONE, AT(NO, 0) },
	{ "mov %eax,%gs:(%rdi)", { 0x65, 0x89, 0x07 }, 3, M64, INSN_MOV, 4, true, REG(GPR_RAX, 4), INSN_GS, 8, GPR_RDI,
	  NO, 0, 0, false },
	{ "mov %eax,(%edi)", { 0x67, 0x89, 0x07 }, 3, M64, INSN_MOV, 4, true, REG(GPR_RAX, 4), INSN_DS, 4, GPR_RDI, NO,
	  0, 0, false },
	{ "mov %eax,0x1000", { 0x89, 0x04, 0x25, 0, 0x10, 0, 0 }, 7, M64, INSN_MOV, 4, true, REG(GPR_RAX, 4),
	  AT(NO, 0x1000) },
	{ "mov %al,(%rax,%rax)", { 0x88, 0x04, 0x00 }, 3, M64, INSN_MOV, 1, true, REG(GPR_RAX, 1), INSN_DS, 8, GPR_RAX,
	  GPR_RAX, 0, 0, false },
	{ "mov %eax,(%rbp)", { 0x89, 0x45, 0x00 }, 3, M64, INSN_MOV, 4, true, REG(GPR_RAX, 4), AT(GPR_RBP, 0) },
	/* A REX prefix counts just before the opcode only. */
	{ "rex.W; data16 mov %ax,(%rdi)", { 0x48, 0x66, 0x89, 0x07 }, 4, M64, INSN_MOV, 2, true, REG(GPR_RAX, 2),
	  AT(GPR_RDI, 0) },
	{ "mov %eax,0xfee000b0", { 0xa3, 0xb0, 0, 0xe0, 0xfe }, 5, M32, INSN_MOV, 4, true, REG(GPR_RAX, 4), INSN_DS, 4,
	  NO, NO, 0, 0xfee000b0, false },
	{ "mov %al,%es:(%ebx)", { 0x26, 0x88, 0x03 }, 3, M32, INSN_MOV, 1, true, REG(GPR_RAX, 1), INSN_ES, 4, GPR_RBX,
	  NO, 0, 0, false },
	{ "mov (%bx,%si),%ax", { 0x67, 0x66, 0x8b, 0x00 }, 4, M32, INSN_MOV, 2, false, REG(GPR_RAX, 2), INSN_DS, 2,
	  GPR_RBX, GPR_RSI, 0, 0, false },
	{ "movl $1,(%ebp)", { 0xc7, 0x45, 0, 1, 0, 0, 0 }, 7, M32, INSN_MOV, 4, true, IMM(1), INSN_SS, 4, GPR_RBP, NO,
	  0, 0, false },
	{ "addr16 mov %eax,0x1234", { 0x67, 0xa3, 0x34, 0x12 }, 4, M32, INSN_MOV, 4, true, REG(GPR_RAX, 4), INSN_DS, 2,
	  NO, NO, 0, 0x1234, false },
	{ "mov %ax,(%bx,%di)", { 0x89, 0x01 }, 2, M16, INSN_MOV, 2, true, REG(GPR_RAX, 2), INSN_DS, 2, GPR_RBX, GPR_RDI,
	  0, 0, false },
	{ "mov %eax,0x1234", { 0x66, 0xa3, 0x34, 0x12 }, 4, M16, INSN_MOV, 4, true, REG(GPR_RAX, 4), INSN_DS, 2, NO, NO,
	  0, 0x1234, false },
	{ "mov %al,-1(%bp)", { 0x88, 0x46, 0xff }, 3, M16, INSN_MOV, 1, true, REG(GPR_RAX, 1), INSN_SS, 2, GPR_RBP, NO,
	  0, (u64)-1, false },
	{ "mov %eax,(%ecx)", { 0x67, 0x66, 0x89, 0x01 }, 4, M16, INSN_MOV, 4, true, REG(GPR_RAX, 4), INSN_DS, 4,
	  GPR_RCX, NO, 0, 0, false },
	{ "movw $5,(%si)", { 0xc7, 0x04, 5, 0 }, 4, M16, INSN_MOV, 2, true, IMM(5), INSN_DS, 2, NO, GPR_RSI, 0, 0,
	  false },
};

static void test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct insn insn;

		if (insn_decode(good[i].bytes, 15, good[i].mode, &insn))
			fail_msg("%s is not decoded", good[i].text);
		assert_int_equal(insn.len, good[i].len);
		assert_int_equal(insn.op, good[i].op);
		assert_int_equal(insn.size, good[i].size);
		assert_int_equal(insn.to_memory, good[i].to_memory);
		assert_int_equal(insn.operand, good[i].operand);
		assert_int_equal(insn.reg, good[i].reg);
		assert_int_equal(insn.reg_size, good[i].reg_size);
		assert_int_equal(insn.high_byte, good[i].high_byte);
		assert_int_equal(insn.imm, good[i].imm);
		assert_int_equal(insn.segment, good[i].segment);
		assert_int_equal(insn.address_size, good[i].address_size);
		assert_int_equal(insn.base, good[i].base);
		assert_int_equal(insn.index, good[i].index);
		assert_int_equal(insn.scale, good[i].scale);
		assert_int_equal(insn.disp, good[i].disp);
		assert_int_equal(insn.rep, good[i].rep);
	}
}

/* Every beginning of an instruction asks for more, and nothing behind the end is looked at. */
static void test_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		for (u32 n = 0; n < good[i].len; n++) {
			struct insn insn;

			assert_int_equal(insn_decode(good[i].bytes, n, good[i].mode, &insn), -E_AGAIN);
		}
	}
}

static void test_refused(void **state)
{
	static const u8 bad[][15] = {
		{ 0x89, 0xc0 },             /* mov %eax,%eax: no memory */
		{ 0x0f, 0x0b },             /* ud2 */
		{ 0x50 },                   /* push */
		{ 0xc7, 0x0f },             /* C7 /1 */
		{ 0xf7, 0x27 },             /* mul */
		{ 0xff, 0x17 },             /* call */
		{ 0x0f, 0xba, 0x07, 1 },    /* 0F BA /0 */
		{ 0x0f, 0x11, 0x07 },       /* movups */
		{ 0xc5, 0xf8, 0x11, 0x07 }, /* vmovups */
		{ 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct insn insn;

		assert_int_equal(insn_decode(bad[i], 15, INSN_MODE_64, &insn), -E_INVAL);
	}
}

static void test_length(void **state)
{
	static const struct {
		u8 bytes[6];
		u32 len;
	} insns[] = {
		{ { 0x0f, 0xa2 }, 2 },             /* cpuid */
		{ { 0xf4 }, 1 },                   /* hlt */
		{ { 0x0f, 0x22, 0xc0 }, 3 },       /* mov %rax,%cr0 */
		{ { 0x41, 0x0f, 0x22, 0xe0 }, 4 }, /* mov %r8,%cr4 */
		{ { 0x0f, 0x01, 0xd1 }, 3 },       /* xsetbv */
		{ { 0x0f, 0x30 }, 2 },             /* wrmsr */
		{ { 0xf3, 0x0f, 0x09 }, 3 },       /* wbnoinvd */
		{ { 0xf3, 0x90 }, 2 },             /* pause */
	};
	u32 len;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(insns); i++) {
		assert_int_equal(insn_length(insns[i].bytes, 6, INSN_MODE_64, &len), 0);
		assert_int_equal(len, insns[i].len);
		assert_int_equal(insn_length(insns[i].bytes, insns[i].len - 1, INSN_MODE_64, &len), -E_AGAIN);
	}
	assert_int_equal(insn_length((const u8[]){ 0x90, 0x50 }, 2, INSN_MODE_64, &len), 0);
	assert_int_equal(insn_length((const u8[]){ 0x50 }, 1, INSN_MODE_64, &len), -E_INVAL);
}

static u32 next_random(void)
{
	static u32 seed = 12345;

	seed = seed * 1664525 + 1013904223;
	return seed >> 8;
}

/* Whatever the bytes: an answer within bounds. The sanitizers watch the buffer's end. */
static void test_garbage(void **state)
{
	static const enum insn_mode modes[] = { INSN_MODE_16, INSN_MODE_32, INSN_MODE_64 };
	u32 decoded = 0;

	(void)state;
	for (u32 i = 0; i < 300000; i++) {
		u32 n = 1 + next_random() % 15;
		u8 bytes[15];
		struct insn insn;
		int error;

		for (u32 j = 0; j < n; j++)
			bytes[j] = (u8)next_random();
		error = insn_decode(bytes, n, modes[i % 3], &insn);
		assert_true(error == 0 || error == -E_AGAIN || error == -E_INVAL);
		if (error)
			continue;
		decoded++;
		assert_in_range(insn.len, 1, n);
		assert_true(insn.size == 1 || insn.size == 2 || insn.size == 4 || insn.size == 8);
		assert_true(insn.reg < 16);
		assert_true(insn.base < 16 || insn.base == INSN_RIP || insn.base == INSN_NO_REG);
		assert_true(insn.index < 16 || insn.index == INSN_NO_REG);
		if (insn.operand == INSN_REG)
			assert_true(insn.reg_size >= insn.size || insn.op == INSN_MOVSX);
	}
	assert_true(decoded > 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),    cmocka_unit_test(test_cut),     cmocka_unit_test(test_refused),
		cmocka_unit_test(test_length),  cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
