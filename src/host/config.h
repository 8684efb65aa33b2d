/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Config - dmemd.conf(5) and its drop-ins, read into a Policy
 *
 * Which files count follows the UAPI.6 configuration files specification: of the main files
 * dmemd/dmemd.conf in etc/, run/ and usr/lib/ the first that exists; then every drop-in
 * dmemd/dmemd.conf.d/NAME.conf, sorted by NAME over the three folders, where one in a folder named
 * earlier replaces one of the same name. A symbolic link to /dev/null or an empty file masks.
 *
 * The syntax is that of systemd.syntax(7). Whatever is wrong is an error that names file, line,
 * value and what is allowed; all of them are collected, not only the first.
 */

#include <stddef.h>

#include "plan/policy.h"

/* A longer logical line is an error; the limit that systemd has, too. */
#define CONFIG_LINE_MAX (1U << 20)

typedef struct ConfigError {
        char *path;    /* `/etc/dmemd/dmemd.conf` below the root, or the file as it was named */
        unsigned line; /* from 1; 0: concerns the whole file */
        char *message; /* one line, safe to print */
} ConfigError;

typedef struct ConfigErrors {
        ConfigError *items;
        size_t n_items;
} ConfigErrors;

void config_errors_done(ConfigErrors *errors);

/*
 * The files that count, in the order in which they are read, as a NULL-terminated array of paths
 * below the root without a leading slash. Masked ones are not in it. What cannot be read is an
 * error in @errors. Returns 0, -EBADMSG (see @errors) or -ENOMEM.
 */
int config_list_files(int root_fd, ConfigErrors *errors, char ***ret);

/*
 * Reads the configuration below @root_fd; with @single_file, that file of our own file system and
 * no other. @errors is added to and to be freed by the caller in any case.
 * Returns 0 and a new policy, -EBADMSG (see @errors) or -ENOMEM.
 */
int config_load(int root_fd, const char *single_file, ConfigErrors *errors, Policy **ret);

/*
 * Reads the text of one file into @policy: the part of config_load() that touches no file.
 * @path is what origins and errors name; @data may hold any bytes. Returns 0 or -ENOMEM.
 */
int config_parse(const char *path, const char *data, size_t size, ConfigErrors *errors,
                 Policy *policy);
