/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text on the firmware's screen, write-only: reading video memory is slow, so nothing scrolls.
 * After the last line comes the first again, with an empty line before what is old (at first: the
 * firmware's).
 */
#include "drivers/framebuffer.h"

#include "arch/x86_64/paging.h"
#include "compiler.h"
#include "drivers/font5x7.h"

#define SCALE 2 /* pixels a dot */
#define CELL_WIDTH ((FONT_COLUMNS + 1) * SCALE)
#define CELL_HEIGHT ((FONT_ROWS + 1) * SCALE)
#define WHITE 0xffffffu
#define BLACK 0u

/* Set once; then the service CPU's, until a panic. */
static u8 *pixels;
static u32 pitch;
static u32 columns;
static u32 lines;
static u32 column;
static u32 line;

static void put_pixel(u32 x, u32 y, u32 color)
{
	WRITE_ONCE(*(u32 *)(pixels + (u64)y * pitch + x * 4ull), color);
}

/* A space for what the font does not have. */
static const u8 *dots(char c)
{
	return font5x7[c >= FONT_FIRST && c <= FONT_LAST ? c - FONT_FIRST : 0];
}

static void draw(u32 at_column, u32 at_line, char c)
{
	const u8 *glyph = dots(c);

	for (u32 y = 0; y < CELL_HEIGHT; y++)
		for (u32 x = 0; x < CELL_WIDTH; x++) {
			u32 dot_column = x / SCALE;
			bool on = dot_column < FONT_COLUMNS && glyph[dot_column] >> (y / SCALE) & 1;

			put_pixel(at_column * CELL_WIDTH + x, at_line * CELL_HEIGHT + y,
				  on ? WHITE : BLACK);
		}
}

static void clear_line(u32 at_line)
{
	for (u32 i = 0; i < columns; i++)
		draw(i, at_line, ' ');
}

static void next_line(void)
{
	column = 0;
	line = (line + 1) % lines;
	/* This one was cleared when it was the next one. */
	clear_line((line + 1) % lines);
}

void framebuffer_init(hpa_t base, u32 width, u32 height, u32 pitch_bytes)
{
	columns = width / CELL_WIDTH;
	lines = height / CELL_HEIGHT;
	if (!base || columns < 20 || lines < 4 || pitch_bytes < width * 4)
		return;
	pitch = pitch_bytes;
	pixels = paging_map_device(base, (u64)height * pitch_bytes);
	clear_line(0);
	clear_line(1);
}

void framebuffer_write(const char *text, size_t len)
{
	if (!pixels)
		return;
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\n') {
			next_line();
			continue;
		}
		if (column == columns)
			next_line();
		draw(column++, line, text[i]);
	}
}
