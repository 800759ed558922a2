/* SPDX-License-Identifier: Apache-2.0 */
/* The backend that boot/main.c, or a test, has chosen. Set before any guest exists. */
#include "vmm/hvm.h"

const struct hvm_ops *hvm;
