/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * UTF-8, where text of any bytes (a file's name, a command line) goes out in a format that allows
 * nothing else
 */

#include <stddef.h>

/* Bytes of the character that @s, which ends in a NUL, begins with: 1 to 4; 0 if it is none. */
size_t utf8_length(const char *s);

/* A copy with U+FFFD in place of every byte that is no part of a character. NULL: no memory. */
char *utf8_replace_invalid(const char *text);
