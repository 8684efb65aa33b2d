/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Status as JSON, version 1, and back
 *
 * The form is described by conf/schema/status.schema.json. The reader takes what the writer writes
 * and what a later dmemd adds to it; it exists so that dmemctl can show what dmemd says.
 */

#include "host/status.h"

/* Returns 0 or -ENOMEM. @pretty: indented, for people; otherwise one line. No newline behind. */
int status_format(const Status *s, bool pretty, char **ret);

/* Returns 0, -EBADMSG (not such a text, or another version), -ENOMEM; @ret untouched on error. */
int status_parse(const char *text, Status **ret);
