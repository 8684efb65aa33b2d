/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <stdlib.h>

#include "basic/root-fs.h"
#include "dmemd/runtime.h"

int runtime_open(void) {
        const char *path = getenv("RUNTIME_DIRECTORY");

        return path ? root_open(path) : -ENOENT;
}
