/* SPDX-License-Identifier: Apache-2.0 */
/* What this build is called (`git describe`); the Makefile writes the source file. */
#ifndef VERSION_H
#define VERSION_H

extern const char godwit_version[];

#endif
