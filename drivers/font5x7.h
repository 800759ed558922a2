/* SPDX-License-Identifier: Apache-2.0 */
/* The printable ASCII characters in the usual 5 x 7 dots: five columns each, bit 0 is the top. */
#ifndef DRIVERS_FONT5X7_H
#define DRIVERS_FONT5X7_H

#include "types.h"

#define FONT_FIRST ' '
#define FONT_LAST '~'
#define FONT_COLUMNS 5
#define FONT_ROWS 7

extern const u8 font5x7[FONT_LAST - FONT_FIRST + 1][FONT_COLUMNS];

#endif
