/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lwIP's mem_malloc() hands out, nearly all of it data on its way out: acknowledgements and ARP,
 * frames of an ordinary MTU, and large segments that the NIC cuts (see LWIP_PORT_SEGMENT_BYTES).
 */
LWIP_MALLOC_MEMPOOL_START
LWIP_MALLOC_MEMPOOL(128, 256)
LWIP_MALLOC_MEMPOOL(320, 1600)
LWIP_MALLOC_MEMPOOL(64, 16384)
LWIP_MALLOC_MEMPOOL_END
