/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * metrics: the figures in OpenMetrics text. From dmemd, which alone knows what it missed; without
 * it, or for another root, from the files.
 */

#include "dmemctl/dmemd-client.h"
#include "dmemctl/verbs.h"
#include "host/host-memory.h"
#include "host/metrics.h"

static int metrics_from_files(Dmemctl *d, char **ret) {
        _cleanup_(status_freep) Status *status = NULL;
        _cleanup_free_ MaybeBytes *events = NULL;
        int r;

        r = load_host_status(d, &status);
        if (r < 0)
                return r;
        r = metrics_load_events(d->root_fd, status, &events);
        if (r < 0)
                return r;
        return metrics_format(&(Metrics){ .status = status, .events = events }, METRICS_OPENMETRICS,
                              ret);
}

int verb_metrics(Dmemctl *d, int argc, char *argv[]) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = host_is_live(d->root_fd);
        if (r > 0)
                r = dmemd_call("GetMetrics", &text);
        if (r == -ENOMEM)
                return r;
        if (!text) {
                r = metrics_from_files(d, &text);
                if (r < 0)
                        return r;
        }
        fputs(text, stdout);
        return EXIT_SUCCESS;
}
