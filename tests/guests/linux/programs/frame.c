/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame send HEX [COUNT]: sends a raw Ethernet frame from eth0, whatever its source address says.
 * frame watch SECONDS: counts the frames that reach eth0 by whom they are for, in promiscuous mode:
 * "frame: watching", then "frame: mine N others N multicast N broadcast N".
 */
#include "programs.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define FRAME_BYTES_MAX 9100

static void fail(const char *what)
{
	perror(what);
	exit(2);
}

static int open_nic(void)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex("eth0"),
	};
	int nic = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));

	if (nic < 0 || bind(nic, (struct sockaddr *)&address, sizeof(address)))
		fail("frame: eth0");
	return nic;
}

static size_t from_hex(const char *text, unsigned char *frame)
{
	size_t bytes = 0;

	while (*text && bytes < FRAME_BYTES_MAX) {
		unsigned int value;

		if (sscanf(text, "%2x", &value) != 1 || !text[1]) {
			fprintf(stderr, "frame: no hexadecimal digits: %s\n", text);
			exit(2);
		}
		frame[bytes++] = (unsigned char)value;
		text += 2;
	}
	return bytes;
}

static int send_frames(const char *text, uint64_t count)
{
	static unsigned char frame[FRAME_BYTES_MAX];
	size_t bytes = from_hex(text, frame);
	int nic = open_nic();

	for (uint64_t i = 0; i < count && !stop_asked; i++)
		if (send(nic, frame, bytes, 0) != (ssize_t)bytes)
			fail("frame: send");
	return 0;
}

static int watch(uint64_t seconds)
{
	struct packet_mreq promiscuous = {
		.mr_ifindex = (int)if_nametoindex("eth0"),
		.mr_type = PACKET_MR_PROMISC,
	};
	struct timeval patience = { .tv_usec = 100000 };
	uint64_t end = monotonic_ns() + seconds * 1000000000u;
	uint64_t counts[PACKET_OTHERHOST + 1] = { 0 };
	int nic = open_nic();

	if (setsockopt(nic, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof(promiscuous)) ||
	    setsockopt(nic, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)))
		fail("frame: eth0");
	printf("frame: watching\n");
	while (monotonic_ns() < end && !stop_asked) {
		static unsigned char frame[FRAME_BYTES_MAX];
		struct sockaddr_ll from;
		socklen_t from_bytes = sizeof(from);
		ssize_t bytes = recvfrom(nic, frame, sizeof(frame), 0, (struct sockaddr *)&from, &from_bytes);

		if (bytes >= 0 && from.sll_pkttype <= PACKET_OTHERHOST)
			counts[from.sll_pkttype]++;
	}
	printf("frame: mine %llu others %llu multicast %llu broadcast %llu\n",
	       (unsigned long long)counts[PACKET_HOST], (unsigned long long)counts[PACKET_OTHERHOST],
	       (unsigned long long)counts[PACKET_MULTICAST], (unsigned long long)counts[PACKET_BROADCAST]);
	return 0;
}

int frame_main(int argc, char **argv)
{
	if (argc >= 3 && !strcmp(argv[1], "send"))
		return send_frames(argv[2], number_argument(argc, argv, 3, 1));
	if (argc == 3 && !strcmp(argv[1], "watch"))
		return watch(number_argument(argc, argv, 2, 0));
	fprintf(stderr, "usage: frame send HEX [COUNT] | frame watch SECONDS\n");
	return 2;
}
