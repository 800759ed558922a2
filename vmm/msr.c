/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's MSRs, by one table: what is not in it raises #GP, as on a CPU that has not got it.
 * On the vCPU's CPU.
 */
#include "vmm/msr.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"
#include "vmm/cr.h"
#include "vmm/hvm.h"
#include "vmm/irqchip.h"
#include "vmm/msr_internal.h"
#include "vmm/pvclock.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* VCNT, fixed-range MTRRs, write-combining (SDM 3 12.11.1). */
#define MTRR_CAP (VARIABLE_MTRRS | BIT(8) | BIT(10))
#define MTRR_DEF_ENABLED (BIT(11) | BIT(10))
#define MTRR_MASK_VALID BIT(11)
#define MEMORY_UC 0
#define MEMORY_WB 6

/* Rising. Names as in SDM 4 and APM 2 appendix A. */
const struct msr_rule msr_rules[] = {
	{ 0x10, 0x10, KIND_TSC, 0 },
	{ 0x11, 0x12, KIND_PVCLOCK, 0 },                  /* KVM's first clock */
	{ 0x17, 0x17, KIND_READ_ONLY, 0 },                /* PLATFORM_ID */
	{ 0x1b, 0x1b, KIND_IRQCHIP, 0 },                  /* APIC_BASE */
	{ 0x3a, 0x3a, KIND_READ_ONLY, BIT(0) },           /* FEATURE_CONTROL: locked, all off */
	{ 0x3b, 0x3b, KIND_TSC_ADJUST, 0 },
	{ 0x79, 0x79, KIND_CONSTANT, 0 },                 /* microcode update: swallowed */
	{ 0x8b, 0x8b, KIND_CONSTANT, 0 },                 /* microcode revision */
	{ 0xce, 0xce, KIND_READ_ONLY, 0 },                /* PLATFORM_INFO */
	{ 0xfe, 0xfe, KIND_READ_ONLY, MTRR_CAP },
	{ 0x140, 0x140, KIND_CONSTANT, 0 },               /* MISC_FEATURES_ENABLES */
	{ 0x174, 0x174, KIND_LOW32, 0 },                  /* SYSENTER_CS */
	{ 0x175, 0x176, KIND_ADDRESS, 0 },                /* SYSENTER_ESP, _EIP */
	{ 0x179, 0x179, KIND_READ_ONLY, 0 },              /* MCG_CAP: no banks */
	{ 0x17a, 0x17a, KIND_CONSTANT, 0 },               /* MCG_STATUS */
	{ 0x198, 0x198, KIND_READ_ONLY, 0 },              /* PERF_STATUS */
	{ 0x1a0, 0x1a0, KIND_CONSTANT, BIT(0) },          /* MISC_ENABLE: fast strings */
	{ 0x1d9, 0x1d9, KIND_DEBUGCTL, 0 },
	{ 0x200, 0x20f, KIND_MTRR_VARIABLE, 0 },
	{ 0x250, 0x250, KIND_MTRR_FIXED, 0 },
	{ 0x258, 0x259, KIND_MTRR_FIXED, 0 },
	{ 0x268, 0x26f, KIND_MTRR_FIXED, 0 },
	{ 0x277, 0x277, KIND_PAT, 0 },
	{ 0x2ff, 0x2ff, KIND_MTRR_DEF, 0 },
	{ 0x6e0, 0x6e0, KIND_IRQCHIP, 0 },                /* TSC_DEADLINE */
	{ 0x800, 0x8ff, KIND_IRQCHIP, 0 },                /* x2APIC */
	{ 0x4b564d00, 0x4b564d01, KIND_PVCLOCK, 0 },
	{ 0xc0000080, 0xc0000080, KIND_EFER, 0 },
	{ 0xc0000081, 0xc0000081, KIND_ANY, 0 },          /* STAR */
	{ 0xc0000082, 0xc0000083, KIND_ADDRESS, 0 },      /* LSTAR, CSTAR */
	{ 0xc0000084, 0xc0000084, KIND_LOW32, 0 },        /* SFMASK */
	{ 0xc0000100, 0xc0000102, KIND_ADDRESS, 0 },      /* FS, GS, kernel GS base */
	{ 0xc0000103, 0xc0000103, KIND_TSC_AUX, 0 },
	{ 0xc0010000, 0xc0010007, KIND_CONSTANT, 0 },     /* counters that every AMD CPU has: they do not count */
	{ 0xc0010010, 0xc0010010, KIND_CONSTANT, 0 },     /* SYSCFG */
	{ 0xc0010015, 0xc0010015, KIND_CONSTANT, BIT(24) }, /* HWCR: TscFreqSel */
	{ 0xc001001a, 0xc001001a, KIND_CONSTANT, GMEM_LOW_END }, /* TOP_MEM */
	{ 0xc001001d, 0xc001001d, KIND_CONSTANT, 0 },     /* TOP_MEM2 */
	{ 0xc001001f, 0xc001001f, KIND_CONSTANT, 0 },     /* NB_CFG */
	{ 0xc0010055, 0xc0010055, KIND_CONSTANT, 0 },     /* INT_PENDING */
	{ 0xc0010058, 0xc0010058, KIND_CONSTANT, 0 },     /* MMIO_CFG_BASE */
	{ 0xc0010061, 0xc001006b, KIND_CONSTANT, 0 },     /* P-states */
	{ 0xc0010112, 0xc0010113, KIND_CONSTANT, 0 },     /* SMM's segment */
	{ 0xc0010114, 0xc0010114, KIND_CONSTANT, BIT(3) | BIT(4) }, /* VM_CR: SVM locked off */
	{ 0xc0011020, 0xc0011023, KIND_CONSTANT, 0 },     /* LS, IC, DC, BU_CFG */
	{ 0xc0011029, 0xc0011029, KIND_CONSTANT, BIT(1) }, /* DE_CFG: LFENCE serializes */
	{ 0xc001102a, 0xc001102a, KIND_CONSTANT, 0 },     /* BU_CFG2 */
};

const u32 msr_rule_count = ARRAY_SIZE(msr_rules);

const struct msr_rule *msr_find_rule(u32 index)
{
	u32 low = 0;
	u32 high = ARRAY_SIZE(msr_rules);

	while (low < high) {
		u32 middle = (low + high) / 2;

		if (msr_rules[middle].last < index)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == ARRAY_SIZE(msr_rules) || msr_rules[low].first > index)
		return NULL;
	return &msr_rules[low];
}

/* --- MTRRs ------------------------------------------------------------------------------------ */

u64 *msr_mtrr_place(struct msr_file *file, const struct msr_rule *rule, u32 index)
{
	if (rule->kind == KIND_MTRR_DEF)
		return &file->mtrr_def;
	if (rule->kind == KIND_MTRR_VARIABLE)
		return &file->mtrr_variable[index - 0x200];
	if (index == 0x250)
		return &file->mtrr_fixed[0];
	if (index <= 0x259)
		return &file->mtrr_fixed[1 + index - 0x258];
	return &file->mtrr_fixed[3 + index - 0x268];
}

static bool memory_type_valid(u64 type)
{
	return type <= 1 || (type >= 4 && type <= 6);
}

/* Types in every byte; PAT also has UC- (7). */
static bool memory_types_valid(u64 value, bool pat)
{
	for (u32 i = 0; i < 64; i += 8) {
		u64 type = value >> i & 0xff;

		if (!memory_type_valid(type) && !(pat && type == 7))
			return false;
	}
	return true;
}

bool msr_mtrr_valid(const struct msr_rule *rule, u32 index, u64 value)
{
	if (rule->kind == KIND_MTRR_FIXED)
		return memory_types_valid(value, false);
	if (rule->kind == KIND_MTRR_DEF)
		return memory_type_valid(value & 0xff) && !(value & ~(MTRR_DEF_ENABLED | 0xff));
	if (value >> 52)
		return false;
	if (index & 1)
		return !(value & 0x7ff);
	return memory_type_valid(value & 0xff) && !(value & 0xf00);
}

/* --- the guest's accesses --------------------------------------------------------------------- */

static void log_unknown(struct vcpu *vcpu, u32 index, const char *how unused)
{
	struct msr_file *file = vcpu->msrs;

	for (u32 i = 0; i < file->logged_count; i++)
		if (file->logged[i] == index)
			return;
	if (file->logged_count == LOGGED_MAX)
		return;
	file->logged[file->logged_count++] = index;
	log_debug("%s: %s MSR %#x, which it has not got (rip %#llx)", vcpu->vm->config.name, how, index,
		  (unsigned long long)vcpu->regs.rip);
}

static u64 pvclock_get(const struct vcpu *vcpu, u32 index)
{
	if (index == MSR_KVM_SYSTEM_TIME || index == MSR_KVM_SYSTEM_TIME_OLD)
		return vcpu->pvclock_msr;
	return vcpu->pvclock_wall_msr;
}

/* SDM 3 18.17.2: RDTSCP and RDPID. */
static bool has_tsc_aux(const struct vcpu *vcpu)
{
	const struct cpuid_policy *policy = vcpu->vm->cpuid;

	return cpuid_policy_word(policy, CPUID_81_EDX) & BIT(27) || cpuid_policy_word(policy, CPUID_7_ECX) & BIT(22);
}

int msr_read_rule(struct vcpu *vcpu, const struct msr_rule *rule, u32 index, u64 *value)
{
	switch (rule->kind) {
	case KIND_CONSTANT:
	case KIND_READ_ONLY:
		*value = rule->value;
		return 0;
	case KIND_EFER:
	case KIND_PAT:
	case KIND_ADDRESS:
	case KIND_LOW32:
	case KIND_ANY:
	case KIND_DEBUGCTL:
		return hvm->get_msr(vcpu, index, value);
	case KIND_TSC_AUX:
		return has_tsc_aux(vcpu) ? hvm->get_msr(vcpu, index, value) : -E_INVAL;
	case KIND_TSC:
		*value = vcpu_tsc(vcpu);
		return 0;
	case KIND_TSC_ADJUST:
		*value = vcpu->tsc_adjust;
		return 0;
	case KIND_IRQCHIP:
		return irqchip_msr_read(vcpu, index, value);
	case KIND_PVCLOCK:
		*value = pvclock_get(vcpu, index);
		return 0;
	case KIND_MTRR_VARIABLE:
	case KIND_MTRR_FIXED:
	case KIND_MTRR_DEF:
		*value = *msr_mtrr_place(vcpu->msrs, rule, index);
		return 0;
	}
	return -E_INVAL;
}

int msr_guest_read(struct vcpu *vcpu, u32 index, u64 *value)
{
	const struct msr_rule *rule = msr_find_rule(index);

	if (rule && !msr_read_rule(vcpu, rule, index, value))
		return 0;
	log_unknown(vcpu, index, "reads");
	return -E_INVAL;
}

static int write_efer(struct vcpu *vcpu, u64 value)
{
	u64 old;

	if (hvm->get_msr(vcpu, MSR_EFER, &old))
		return -E_INVAL;
	if (efer_check(vcpu->vm->cpuid, value, old, hvm->get_cr(vcpu, 0)))
		return -E_INVAL;
	return hvm->set_msr(vcpu, MSR_EFER, (value & ~EFER_LMA) | (old & EFER_LMA));
}

static int write_tsc_adjust(struct vcpu *vcpu, u64 value)
{
	vcpu->tsc_adjust = value;
	vcpu_update_tsc(vcpu);
	pvclock_refresh(vcpu);
	return 0;
}

static int write_pvclock(struct vcpu *vcpu, u32 index, u64 value)
{
	if (index == MSR_KVM_SYSTEM_TIME || index == MSR_KVM_SYSTEM_TIME_OLD)
		pvclock_set_time_msr(vcpu, value);
	else
		pvclock_set_wall_msr(vcpu, value);
	return 0;
}

static int write_irqchip(struct vcpu *vcpu, u32 index, u64 value)
{
	int error = irqchip_msr_write(vcpu, index, value);

	/* It may have been the TPR, which CR8 shows. */
	if (!error)
		hvm->set_cr(vcpu, 8, irqchip_get_tpr(vcpu));
	return error;
}

/* BTF, for block stepping; the rest records what is the host's. */
#define DEBUGCTL_ALLOWED BIT(1)

static int write_rule(struct vcpu *vcpu, const struct msr_rule *rule, u32 index, u64 value)
{
	switch (rule->kind) {
	case KIND_CONSTANT:
		return 0;
	case KIND_READ_ONLY:
		return -E_INVAL;
	case KIND_EFER:
		return write_efer(vcpu, value);
	case KIND_PAT:
		return memory_types_valid(value, true) ? hvm->set_msr(vcpu, index, value) : -E_INVAL;
	case KIND_ADDRESS:
		return cr_canonical(value) ? hvm->set_msr(vcpu, index, value) : -E_INVAL;
	case KIND_LOW32:
		return value >> 32 ? -E_INVAL : hvm->set_msr(vcpu, index, value);
	case KIND_TSC_AUX:
		return value >> 32 || !has_tsc_aux(vcpu) ? -E_INVAL : hvm->set_msr(vcpu, index, value);
	case KIND_ANY:
		return hvm->set_msr(vcpu, index, value);
	case KIND_DEBUGCTL:
		return value & ~DEBUGCTL_ALLOWED ? -E_INVAL : hvm->set_msr(vcpu, index, value);
	case KIND_TSC:
		/* What a write changes shows in TSC_ADJUST (SDM 3 18.17.3). */
		return write_tsc_adjust(vcpu, vcpu->tsc_adjust + value - vcpu_tsc(vcpu));
	case KIND_TSC_ADJUST:
		return write_tsc_adjust(vcpu, value);
	case KIND_IRQCHIP:
		return write_irqchip(vcpu, index, value);
	case KIND_PVCLOCK:
		return write_pvclock(vcpu, index, value);
	case KIND_MTRR_VARIABLE:
	case KIND_MTRR_FIXED:
	case KIND_MTRR_DEF:
		if (!msr_mtrr_valid(rule, index, value))
			return -E_INVAL;
		*msr_mtrr_place(vcpu->msrs, rule, index) = value;
		return 0;
	}
	return -E_INVAL;
}

int msr_guest_write(struct vcpu *vcpu, u32 index, u64 value)
{
	const struct msr_rule *rule = msr_find_rule(index);

	if (!rule)
		log_unknown(vcpu, index, "writes");
	if (!rule || write_rule(vcpu, rule, index, value))
		return -E_INVAL;
	return 0;
}

/* --- the file --------------------------------------------------------------------------------- */

int msr_file_init(struct vcpu *vcpu)
{
	hpa_t block = pages_alloc(pages_order(sizeof(struct msr_file)));

	if (block == HPA_NONE)
		return -E_NOMEM;
	vcpu->msrs = page_ptr(block);
	msr_file_reset(vcpu);
	return 0;
}

void msr_file_fini(struct vcpu *vcpu)
{
	pages_free(page_hpa(vcpu->msrs), pages_order(sizeof(struct msr_file)));
	vcpu->msrs = NULL;
}

/* As firmware leaves them: memory write-back, the hole below 4 GiB uncached. */
void msr_file_reset(struct vcpu *vcpu)
{
	struct msr_file *file = vcpu->msrs;

	memset(file, 0, sizeof(*file));
	file->mtrr_def = MTRR_DEF_ENABLED | MEMORY_WB;
	memset(file->mtrr_fixed, MEMORY_WB, sizeof(file->mtrr_fixed));
	/* 0xa0000 - 0xbffff: video memory that nobody has. */
	file->mtrr_fixed[2] = 0;
	file->mtrr_variable[0] = GMEM_LOW_END | MEMORY_UC;
	file->mtrr_variable[1] = (BIT(36) - GIB(1)) | MTRR_MASK_VALID;
}
