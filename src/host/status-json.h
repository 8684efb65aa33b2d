/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Status as JSON, version 1, and back
 *
 * The form is described by conf/schema/status.json. The reader takes what the writer writes
 * and what a later dmemd adds to it; it exists so that dmemctl can show what dmemd says.
 */

#include <json.h>

#include "host/status.h"

/* A new object, to be freed with json_object_put(); NULL when there is no memory. */
json_object *status_to_json(const Status *s);

/* The same as text of one line. Returns 0 or -ENOMEM. */
int status_format(const Status *s, char **ret);

/* Returns 0, -EBADMSG (not such a text, or another version), -ENOMEM; @ret untouched on error. */
int status_parse(const char *text, Status **ret);
