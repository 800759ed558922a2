/* SPDX-License-Identifier: Apache-2.0 */
/* The virtualization extensions that this binary knows. For boot/main.c, which chooses. */
#ifndef HVM_BACKENDS_H
#define HVM_BACKENDS_H

#include "vmm/hvm.h"

extern const struct hvm_ops svm_ops; /* svm/ */
extern const struct hvm_ops vmx_ops; /* vmx/ */

#endif
