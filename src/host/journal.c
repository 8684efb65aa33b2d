/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>

/* The place in the source would always be this file. */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "basic/root-fs.h"
#include "host/journal.h"

static struct iovec to_iovec(char *text) {
        return (struct iovec){ .iov_base = text, .iov_len = strlen(text) };
}

int journal_send_text(int priority, const char *message_id, char *const *fields,
                      const char *message) {
        _cleanup_free_ struct iovec *entry = NULL;
        _cleanup_free_ char *message_field = NULL;
        char priority_field[sizeof("PRIORITY=") + 3 * sizeof(int)];
        char id_field[sizeof("MESSAGE_ID=") + 32];
        size_t n_fields = strv_length(fields), n = 0;

        entry = new0(struct iovec, n_fields + 3);
        if (!entry || asprintf(&message_field, "MESSAGE=%s", message) < 0)
                return -ENOMEM;
        (void)snprintf(priority_field, sizeof(priority_field), "PRIORITY=%d", priority);
        entry[n++] = to_iovec(message_field);
        entry[n++] = to_iovec(priority_field);
        if (message_id) {
                (void)snprintf(id_field, sizeof(id_field), "MESSAGE_ID=%s", message_id);
                entry[n++] = to_iovec(id_field);
        }
        for (size_t i = 0; i < n_fields; i++)
                entry[n++] = to_iovec(fields[i]);
        return sd_journal_sendv(entry, (int)n);
}

int journal_send(int priority, const char *message_id, char *const *fields, const char *format,
                 ...) {
        _cleanup_free_ char *message = NULL;
        va_list arguments;
        int r;

        va_start(arguments, format);
        r = vasprintf(&message, format, arguments);
        va_end(arguments);
        if (r < 0)
                return -ENOMEM;
        return journal_send_text(priority, message_id, fields, message);
}

/* systemd names the stream it gave us as DEVICE:INODE, see systemd.exec(5), $JOURNAL_STREAM. */
bool journal_is_stderr(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        char expected[2 * 3 * sizeof(uintmax_t) + 2];
        struct stat st;

        if (!stream || fstat(STDERR_FILENO, &st) < 0)
                return false;
        (void)snprintf(expected, sizeof(expected), "%ju:%ju", (uintmax_t)st.st_dev,
                       (uintmax_t)st.st_ino);
        return streq(stream, expected);
}
