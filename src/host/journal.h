/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Structured entries for the journal, and nothing else: who sends what is for the caller to say
 */

#include <stdbool.h>
#include <syslog.h>

#include "basic/macro.h"
#include "host/message-ids.h"

/*
 * Sends one entry.
 * @priority:   LOG_WARNING and so on
 * @message_id: a MESSAGE_… of message-ids.h, or NULL
 * @fields:     NULL-terminated `NAME=value` texts, or NULL
 *
 * Returns 0 or a negative errno. A host without a running journal is no error.
 */
int journal_send(int priority, const char *message_id, char *const *fields, const char *format, ...)
        _printf_(4, 5);

/* As journal_send(), with the message ready made. */
int journal_send_text(int priority, const char *message_id, char *const *fields,
                      const char *message);

/* True if what this process writes to stderr ends in the journal: it must not be said twice. */
bool journal_is_stderr(void);
