/* SPDX-License-Identifier: Apache-2.0 */
/* What the console says of many guests that are moved by one command (migrate/plan.h). Service CPU. */
#ifndef CONSOLE_FLEET_H
#define CONSOLE_FLEET_H

/* In the terminal's row, instead of what is there: how it goes. */
void fleet_draw(void);
/* How it went: a line for each guest. To the terminal; into the log. */
void fleet_report(void);
void fleet_log(void);

#endif
