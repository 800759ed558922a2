/* SPDX-License-Identifier: Apache-2.0 */
/* The manual's words for what the CPU refuses. */
#include "arch/x86_64/vmx/vmx.h"
#include "lib/log.h"

/* SDM 3 table 31-1. */
const char *vmx_instruction_error(u64 number)
{
	static const char *const words[] = {
		[1] = "VMCALL executed in VMX root operation",
		[2] = "VMCLEAR with invalid physical address",
		[3] = "VMCLEAR with VMXON pointer",
		[4] = "VMLAUNCH with non-clear VMCS",
		[5] = "VMRESUME with non-launched VMCS",
		[6] = "VMRESUME after VMXOFF",
		[7] = "VM entry with invalid control field(s)",
		[8] = "VM entry with invalid host-state field(s)",
		[9] = "VMPTRLD with invalid physical address",
		[10] = "VMPTRLD with VMXON pointer",
		[11] = "VMPTRLD with incorrect VMCS revision identifier",
		[12] = "VMREAD/VMWRITE from/to unsupported VMCS component",
		[13] = "VMWRITE to read-only VMCS component",
		[15] = "VMXON executed in VMX root operation",
		[16] = "VM entry with invalid executive-VMCS pointer",
		[17] = "VM entry with non-launched executive VMCS",
		[18] = "VM entry with executive-VMCS pointer not VMXON pointer",
		[19] = "VMCALL with non-clear VMCS",
		[20] = "VMCALL with invalid VM-exit control fields",
		[22] = "VMCALL with incorrect MSEG revision identifier",
		[23] = "VMXOFF under dual-monitor treatment of SMIs and SMM",
		[24] = "VMCALL with invalid SMM-monitor features",
		[25] = "VM entry with invalid VM-execution control fields in executive VMCS",
		[26] = "VM entry with events blocked by MOV SS",
		[28] = "Invalid operand to INVEPT/INVVPID",
	};

	return number < ARRAY_SIZE(words) && words[number] ? words[number] : "an error without a name";
}

const char *vmx_entry_failure(u32 reason, u64 qualification)
{
	switch (EXIT_REASON(reason)) {
	case EXIT_BAD_GUEST_STATE:
		break;
	case EXIT_BAD_MSR_LOAD:
		return "MSR loading";
	case EXIT_BAD_MACHINE_CHECK:
		return "machine-check event";
	default:
		return "a reason without a name";
	}
	switch (qualification) {
	case 2:
		return "invalid guest state: loading the PDPTEs";
	case 3:
		return "invalid guest state: injecting an NMI into a guest blocked by STI";
	case 4:
		return "invalid guest state: the VMCS link pointer";
	default:
		return "invalid guest state";
	}
}

#ifndef GODWIT_HOST_TEST
/* Which fields there are depends on the controls that were found: a fault of ours. */
noreturn void vmcs_access_failed(u64 field)
{
	panic("VMREAD or VMWRITE of field %#llx failed", (unsigned long long)field);
}
#endif
