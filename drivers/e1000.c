/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intel's gigabit cards: 82540EM (QEMU's and Bochs' e1000, VirtualBox's and VMware's too) and 82574 (e1000e).
 * Service CPU. It owns one NIC: two rings of legacy descriptors, which both chips know, a block of
 * receive buffers and a tx_area.
 *
 * A frame longer than a receive buffer fills several in ring order. They lie side by side in memory, so that
 * it is in one piece unless the ring wraps within it.
 */
#include "drivers/e1000_regs.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/io.h"
#include "arch/x86_64/irq.h"
#include "compiler.h"
#include "drivers/nic.h"
#include "drivers/tx_area.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"

#define VENDOR_INTEL 0x8086
#define DEVICE_82540EM 0x100e
#define DEVICE_82574 0x10d3

#define RING_SIZE 256u
#define RX_BUFFER_BYTES 2048u
#define TX_AREA_BYTES KIB(512)
#define TX_BATCH 32
#define MTU_MAX 9000
#define RESET_NS (10 * NS_PER_MS)
#define EERD_TIMEOUT_NS (10 * NS_PER_MS)

struct e1000 {
	struct nic nic;
	volatile u8 *registers;
	bool is_82574;
	struct e1000_rx_desc *rx;
	struct e1000_tx_desc *tx;
	u8 *rx_buffers;
	u8 *gather; /* for frames around the ring's end */
	u32 rx_next;
	struct tx_area area;
	u32 tx_end[RING_SIZE];
	u32 tx_head, tx_tail; /* ever given, ever taken back */
	u32 tx_shown;         /* of tx_head, what TDT told the card */
};

static struct e1000 the_nic;

static u32 read(const struct e1000 *e, u32 reg)
{
	return mmio_read32(e->registers + reg);
}

static void write(struct e1000 *e, u32 reg, u64 value)
{
	mmio_write32(e->registers + reg, (u32)value);
}

static void wait_ns(u64 ns)
{
	u64 until = time_ns() + ns;

	while (time_ns() < until)
		cpu_relax();
}

/* --- receive ---------------------------------------------------------------------------------------------------- */

static u8 *rx_buffer(struct e1000 *e, u32 index)
{
	return e->rx_buffers + index % RING_SIZE * RX_BUFFER_BYTES;
}

/* How many descriptors the next frame has; 0: it is not all there. */
static u32 rx_count(struct e1000 *e)
{
	for (u32 count = 0; count < RING_SIZE; count++) {
		struct e1000_rx_desc *desc = &e->rx[(e->rx_next + count) % RING_SIZE];
		/* The status before what it vouches for. */
		u8 status = load_acquire(&desc->status);

		if (!(status & E1000_RX_DD))
			return 0;
		if (status & E1000_RX_EOP)
			return count + 1;
	}
	/* A ring full of one frame without an end: no card does that. */
	return RING_SIZE;
}

static void rx_frame(struct e1000 *e, u32 count)
{
	u32 first = e->rx_next % RING_SIZE;
	struct net_frame frame = { .data = rx_buffer(e, first) };
	bool bad = false;

	for (u32 i = 0; i < count; i++) {
		struct e1000_rx_desc *desc = &e->rx[(first + i) % RING_SIZE];
		u32 bytes = READ_ONCE(desc->bytes);

		bad |= READ_ONCE(desc->errors) & E1000_RX_ERRORS;
		bad |= bytes > RX_BUFFER_BYTES || (i + 1 < count && bytes != RX_BUFFER_BYTES);
		frame.bytes += bytes;
	}
	if (bad || frame.bytes < 14 || frame.bytes > MTU_MAX + NET_FRAME_OVERHEAD) {
		e->nic.port.dropped++;
		return;
	}
	if (first + count > RING_SIZE) {
		u32 to_end = (RING_SIZE - first) * RX_BUFFER_BYTES;

		memcpy(e->gather, frame.data, to_end);
		memcpy(e->gather + to_end, e->rx_buffers, frame.bytes - to_end);
		frame.data = e->gather;
	}
	net_switch_input(&e->nic.port, &frame);
}

static bool rx_poll(struct e1000 *e)
{
	u32 before = e->rx_next;
	u32 frames = 0;
	u32 count = 0;

	while (frames < NIC_POLL_FRAMES && (count = rx_count(e))) {
		rx_frame(e, count);
		for (u32 i = 0; i < count; i++)
			e->rx[(e->rx_next + i) % RING_SIZE].status = 0;
		e->rx_next += count;
		frames++;
		/* Half a ring is enough to give back at once. */
		if (e->rx_next - before >= RING_SIZE / 2) {
			write(e, E1000_RDT, (e->rx_next - 1) % RING_SIZE);
			before = e->rx_next;
		}
	}
	/* All but one are the card's: with head = tail it would have none (8254x manual 3.2.6). */
	if (e->rx_next != before)
		write(e, E1000_RDT, (e->rx_next - 1) % RING_SIZE);
	return count;
}

/* --- transmit --------------------------------------------------------------------------------------------------- */

static void tx_reap(struct e1000 *e)
{
	while (e->tx_tail != e->tx_shown) {
		u32 slot = e->tx_tail % RING_SIZE;

		if (!(load_acquire(&e->tx[slot].status) & E1000_TX_DD))
			break;
		tx_area_give(&e->area, e->tx_end[slot]);
		e->tx_tail++;
	}
}

static void flush(struct nic *nic)
{
	struct e1000 *e = container_of(nic, struct e1000, nic);

	if (e->tx_shown == e->tx_head)
		return;
	e->tx_shown = e->tx_head;
	write(e, E1000_TDT, e->tx_head % RING_SIZE);
}

static u8 *tx_room(struct e1000 *e, u32 bytes, u32 *end)
{
	if (e->tx_head - e->tx_tail == RING_SIZE - 1)
		return NULL;
	return tx_area_take(&e->area, bytes, end);
}

static bool deliver(struct net_port *port, const struct net_frame *frame)
{
	struct e1000 *e = container_of(port, struct e1000, nic.port);
	u32 slot = e->tx_head % RING_SIZE;
	u32 end;
	u8 *piece;

	piece = tx_room(e, frame->bytes, &end);
	if (!piece) {
		flush(&e->nic);
		tx_reap(e);
		piece = tx_room(e, frame->bytes, &end);
		if (!piece)
			return false;
	}
	memcpy(piece, frame->data, frame->bytes);
	e->tx_end[slot] = end;
	e->tx[slot] = (struct e1000_tx_desc){
		.address = page_hpa(piece),
		.bytes = (u16)frame->bytes,
		.command = E1000_TX_EOP | E1000_TX_IFCS | E1000_TX_RS,
	};
	e->tx_head++;
	if (e->tx_head - e->tx_shown >= TX_BATCH)
		flush(&e->nic);
	return true;
}

/* --- as net/net.c knows it --------------------------------------------------------------------------------------- */

static bool poll(struct nic *nic)
{
	struct e1000 *e = container_of(nic, struct e1000, nic);
	bool more;

	tx_reap(e);
	more = rx_poll(e);
	flush(nic);
	return more;
}

/*
 * While ICR is not read the card keeps its line up, or sends no further message: so it is silent while it is
 * polled, and speaks up again when what it said last was read here.
 */
static bool arm(struct nic *nic)
{
	struct e1000 *e = container_of(nic, struct e1000, nic);

	if (nic->irq != PCI_IRQ_NONE && irq_taken(nic->vector))
		(void)read(e, E1000_ICR);
	return rx_count(e) == 0;
}

static bool link_up(struct nic *nic)
{
	struct e1000 *e = container_of(nic, struct e1000, nic);

	return read(e, E1000_STATUS) & E1000_STATUS_LU;
}

static bool match(const struct pci_device *dev)
{
	return dev->vendor == VENDOR_INTEL && (dev->device == DEVICE_82540EM || dev->device == DEVICE_82574);
}

static int eeprom_read(struct e1000 *e, u32 word, u16 *value)
{
	u32 shift = e->is_82574 ? E1000_EERD_SHIFT_82574 : E1000_EERD_SHIFT_8254X;
	u32 done = e->is_82574 ? E1000_EERD_DONE_82574 : E1000_EERD_DONE_8254X;
	u64 deadline = time_ns() + EERD_TIMEOUT_NS;
	u32 eerd;

	write(e, E1000_EERD, word << shift | E1000_EERD_START);
	do {
		eerd = read(e, E1000_EERD);
		if (eerd & done) {
			*value = (u16)(eerd >> 16);
			return 0;
		}
	} while (time_ns() < deadline);
	return trace_error(-E_TIMEOUT);
}

/* From the EEPROM: after a reset not every emulator has it in the receive address registers. */
static int mac_init(struct e1000 *e)
{
	u8 *mac = e->nic.mac;

	for (u32 i = 0; i < 3; i++) {
		u16 word = 0;
		int error = eeprom_read(e, i, &word);

		if (error)
			return error;
		mac[2 * i] = (u8)word;
		mac[2 * i + 1] = (u8)(word >> 8);
	}
	if ((mac[0] & 1) || !(mac[0] | mac[1] | mac[2]))
		return trace_error(-E_IO);
	write(e, E1000_RAL, mac[0] | mac[1] << 8 | mac[2] << 16 | (u32)mac[3] << 24);
	write(e, E1000_RAH, (u64)(mac[4] | mac[5] << 8) | E1000_RAH_AV);
	return 0;
}

static int memory_init(struct e1000 *e)
{
	hpa_t rings = pages_alloc(pages_order(2 * RING_SIZE * sizeof(struct e1000_rx_desc)));
	hpa_t buffers = pages_alloc_raw(pages_order(RING_SIZE * RX_BUFFER_BYTES));
	hpa_t area = pages_alloc_raw(pages_order(TX_AREA_BYTES));
	hpa_t gather = pages_alloc_raw(pages_order(MTU_MAX + 2 * RX_BUFFER_BYTES));

	if (rings == HPA_NONE || buffers == HPA_NONE || area == HPA_NONE || gather == HPA_NONE)
		return trace_error(-E_NOMEM);
	e->rx = page_ptr(rings);
	e->tx = (struct e1000_tx_desc *)(e->rx + RING_SIZE);
	e->rx_buffers = page_ptr(buffers);
	e->gather = page_ptr(gather);
	tx_area_init(&e->area, page_ptr(area), TX_AREA_BYTES);
	for (u32 i = 0; i < RING_SIZE; i++)
		e->rx[i].address = page_hpa(rx_buffer(e, i));
	return 0;
}

static void rings_start(struct e1000 *e)
{
	u64 rx = page_hpa(e->rx);
	u64 tx = page_hpa(e->tx);

	write(e, E1000_RDBAL, rx);
	write(e, E1000_RDBAH, rx >> 32);
	write(e, E1000_RDLEN, RING_SIZE * sizeof(struct e1000_rx_desc));
	write(e, E1000_RDH, 0);
	write(e, E1000_RDT, 0);
	write(e, E1000_TDBAL, tx);
	write(e, E1000_TDBAH, tx >> 32);
	write(e, E1000_TDLEN, RING_SIZE * sizeof(struct e1000_tx_desc));
	write(e, E1000_TDH, 0);
	write(e, E1000_TDT, 0);
	if (e->is_82574)
		write(e, E1000_TXDCTL, read(e, E1000_TXDCTL) | E1000_TXDCTL_82574);
	write(e, E1000_TIPG, E1000_TIPG_COPPER);
	write(e, E1000_TCTL, E1000_TCTL_EN | E1000_TCTL_PSP | E1000_TCTL_CT | E1000_TCTL_COLD);
	/* A switch wants all frames, whoever they are for. */
	write(e, E1000_RCTL, E1000_RCTL_EN | E1000_RCTL_UPE | E1000_RCTL_MPE | E1000_RCTL_BAM | E1000_RCTL_SECRC |
		(e->nic.port.mtu > 1500 ? E1000_RCTL_LPE : 0));
	write(e, E1000_RDT, RING_SIZE - 1);
}

static void reset(struct e1000 *e)
{
	write(e, E1000_IMC, ~0u);
	write(e, E1000_RCTL, 0);
	write(e, E1000_TCTL, 0);
	write(e, E1000_CTRL, read(e, E1000_CTRL) | E1000_CTRL_RST);
	wait_ns(RESET_NS);
	write(e, E1000_IMC, ~0u);
	(void)read(e, E1000_ICR);
	write(e, E1000_CTRL, read(e, E1000_CTRL) | E1000_CTRL_SLU | E1000_CTRL_ASDE);
	for (u32 i = 0; i < 128; i++)
		write(e, E1000_MTA + 4 * i, 0);
}

static int start(const struct pci_device *dev, u16 mtu, struct nic **nic)
{
	struct e1000 *e = &the_nic;
	int error;

	if (e->nic.ops)
		return trace_error(-E_BUSY);
	e->nic.pci = dev;
	e->is_82574 = dev->device == DEVICE_82574;
	pci_device_enable(dev);
	e->registers = pci_device_map(dev, 0, E1000_REGISTER_BYTES);
	if (!e->registers)
		return trace_error(-E_IO);
	reset(e);
	error = mac_init(e);
	if (!error)
		error = memory_init(e);
	if (error) {
		pci_device_disable(dev);
		return error;
	}
	error = pci_device_irq(dev, false, &e->nic.vector, &e->nic.irq);
	if (error)
		log_warn("e1000 %s: no interrupt (%s): it is polled", dev->address, error_name(error));
	e->nic.port = (struct net_port){
		.name = "nic",
		.deliver = deliver,
		.mtu = MIN(mtu, (u16)MTU_MAX),
		.uplink = true,
		.ctx = &e->nic,
	};
	rings_start(e);
	if (!error)
		write(e, E1000_IMS, E1000_IRQ_LSC | E1000_IRQ_RXDMT0 | E1000_IRQ_RXO | E1000_IRQ_RXT0);
	e->nic.ops = &e1000_nic;
	*nic = &e->nic;
	return 0;
}

const struct nic_ops e1000_nic = {
	.name = "e1000",
	.match = match,
	.start = start,
	.poll = poll,
	.flush = flush,
	.arm = arm,
	.link_up = link_up,
};
