/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdio.h>
#include <stdlib.h>

#include "basic/root-fs.h"
#include "dmemd/log.h"
#include "dmemd/runtime.h"
#include "dmemd/textfile.h"

#define TEXTFILE "dmemd.prom"

/* node_exporter reads whatever ends in .prom, be it hidden or half written */
#define TEXTFILE_NEW "dmemd.new"

static int write_text(Manager *m) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *text = NULL;
        int r;

        fd = runtime_open();
        if (fd < 0)
                return fd;
        r = manager_get_metrics(m, METRICS_PROMETHEUS, &text);
        if (r < 0)
                return r;
        r = root_write_file(fd, TEXTFILE_NEW, text, strlen(text), 0644);
        if (r < 0)
                return r;
        return renameat(fd, TEXTFILE_NEW, fd, TEXTFILE) < 0 ? -errno : 0;
}

void textfile_write(Manager *m) {
        int r;

        if (!getenv("RUNTIME_DIRECTORY"))
                return;
        r = write_text(m);
        if (r < 0 && !m->textfile_failed)
                log_message(LOG_WARNING,
                            "Cannot write the figures to %s/" TEXTFILE ": %s; trying again with "
                            "each look at the host",
                            getenv("RUNTIME_DIRECTORY"), strerror(-r));
        if (r >= 0 && m->textfile_failed)
                log_message(LOG_NOTICE, "%s/" TEXTFILE " is written again",
                            getenv("RUNTIME_DIRECTORY"));
        m->textfile_failed = r < 0;
}

void textfile_remove(void) {
        _cleanup_close_ int fd = runtime_open();

        if (fd >= 0)
                (void)unlinkat(fd, TEXTFILE, 0);
}
