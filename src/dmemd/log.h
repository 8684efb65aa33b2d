/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Where messages go: to the journal with their fields when we are a service, else to stderr
 */

#include "host/journal.h"

/* A message without an id; ends without a full stop and without a newline. */
void log_message(int priority, const char *format, ...) _printf_(2, 3);

/* One of the kinds of message-ids.h; @fields is a NULL-terminated list of `NAME=value`, or NULL. */
void log_event(int priority, const char *message_id, char *const *fields, const char *format, ...)
        _printf_(4, 5);
