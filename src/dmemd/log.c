/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>
#include <stdio.h>

#include "dmemd/log.h"

static _printf_(4, 0) void log_va(int priority, const char *message_id, char *const *fields,
                                  const char *format, va_list arguments) {
        _cleanup_free_ char *message = NULL;

        if (vasprintf(&message, format, arguments) < 0)
                return; /* no memory: then a message more or less is the least of our worries */
        if (journal_is_stderr() && journal_send_text(priority, message_id, fields, message) >= 0)
                return;
        fprintf(stderr, "%s: %s\n", program_invocation_short_name, message);
}

void log_message(int priority, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        log_va(priority, NULL, NULL, format, arguments);
        va_end(arguments);
}

void log_event(int priority, const char *message_id, char *const *fields, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        log_va(priority, message_id, fields, format, arguments);
        va_end(arguments);
}
