/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers and descriptors of Intel's 8254x ("PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's
 * Manual") and 82574 (its datasheet), by their names there.
 */
#ifndef DRIVERS_E1000_REGS_H
#define DRIVERS_E1000_REGS_H

#include "types.h"

enum e1000_register {
	E1000_CTRL = 0x0000,
	E1000_STATUS = 0x0008,
	E1000_EERD = 0x0014,
	E1000_ICR = 0x00c0,
	E1000_IMS = 0x00d0,
	E1000_IMC = 0x00d8,
	E1000_RCTL = 0x0100,
	E1000_TCTL = 0x0400,
	E1000_TIPG = 0x0410,
	E1000_RDBAL = 0x2800,
	E1000_RDBAH = 0x2804,
	E1000_RDLEN = 0x2808,
	E1000_RDH = 0x2810,
	E1000_RDT = 0x2818,
	E1000_TDBAL = 0x3800,
	E1000_TDBAH = 0x3804,
	E1000_TDLEN = 0x3808,
	E1000_TDH = 0x3810,
	E1000_TDT = 0x3818,
	E1000_TXDCTL = 0x3828,
	E1000_MTA = 0x5200, /* 128 words */
	E1000_RAL = 0x5400,
	E1000_RAH = 0x5404,
	E1000_REGISTER_BYTES = 0x20000,
};

#define E1000_CTRL_ASDE BIT(5)
#define E1000_CTRL_SLU BIT(6)
#define E1000_CTRL_RST BIT(26)
#define E1000_STATUS_LU BIT(1)
#define E1000_EERD_START BIT(0)
#define E1000_EERD_DONE_8254X BIT(4)
#define E1000_EERD_SHIFT_8254X 8
#define E1000_EERD_DONE_82574 BIT(1)
#define E1000_EERD_SHIFT_82574 2
#define E1000_IRQ_LSC BIT(2)
#define E1000_IRQ_RXDMT0 BIT(4)
#define E1000_IRQ_RXO BIT(6)
#define E1000_IRQ_RXT0 BIT(7)
#define E1000_RCTL_EN BIT(1)
#define E1000_RCTL_UPE BIT(3) /* unicast promiscuous */
#define E1000_RCTL_MPE BIT(4) /* multicast promiscuous */
#define E1000_RCTL_LPE BIT(5) /* long packets */
#define E1000_RCTL_BAM BIT(15)
#define E1000_RCTL_SECRC BIT(26) /* strip the CRC; buffers are of 2048 bytes (BSIZE = 0) */
#define E1000_TCTL_EN BIT(1)
#define E1000_TCTL_PSP BIT(3) /* pad short packets */
#define E1000_TCTL_CT (0x0fu << 4)
#define E1000_TCTL_COLD (0x40u << 12)
#define E1000_TIPG_COPPER 0x0060200au
#define E1000_TXDCTL_82574 BIT(22) /* has to be set (82574 datasheet, TXDCTL) */
#define E1000_RAH_AV BIT(31)

struct e1000_rx_desc {
	u64 address;
	u16 bytes;
	u16 checksum;
	u8 status;
	u8 errors;
	u16 special;
};
static_assert(sizeof(struct e1000_rx_desc) == 16, "8254x manual 3.2.3");

#define E1000_RX_DD BIT(0)
#define E1000_RX_EOP BIT(1)
#define E1000_RX_ERRORS 0x97 /* CRC, symbol, sequence, carrier, data: not the checksums' bits */

struct e1000_tx_desc {
	u64 address;
	u16 bytes;
	u8 checksum_offset;
	u8 command;
	u8 status;
	u8 checksum_start;
	u16 special;
};
static_assert(sizeof(struct e1000_tx_desc) == 16, "8254x manual 3.3.3");

#define E1000_TX_EOP BIT(0)
#define E1000_TX_IFCS BIT(1)
#define E1000_TX_RS BIT(3)
#define E1000_TX_DD BIT(0)

#endif
