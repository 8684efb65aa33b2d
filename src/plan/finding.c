/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>
#include <stdio.h>

#include "basic/macro.h"
#include "plan/plan.h"

void findings_done(Findings *findings) {
        for (size_t i = 0; i < findings->n_items; i++)
                free(findings->items[i].message);
        free(findings->items);
        *findings = (Findings){};
}

int findings_add(Findings *findings, const char *code, Severity severity, int node,
                 const char *format, ...) {
        Finding *grown;
        char *message;
        va_list ap;
        int r;

        grown = reallocarray(findings->items, findings->n_items + 1, sizeof(Finding));
        if (!grown)
                return -ENOMEM;
        findings->items = grown;

        va_start(ap, format);
        r = vasprintf(&message, format, ap);
        va_end(ap);
        if (r < 0)
                return -ENOMEM;

        findings->items[findings->n_items++] = (Finding){
                .code = code,
                .severity = severity,
                .node = node,
                .message = message,
        };
        return 0;
}

Severity findings_worst(const Findings *findings) {
        Severity worst = SEVERITY_INFO;

        for (size_t i = 0; i < findings->n_items; i++)
                if (findings->items[i].severity > worst)
                        worst = findings->items[i].severity;
        return worst;
}

const char *severity_to_string(Severity severity) {
        static const char *const names[_SEVERITY_MAX] = {
                [SEVERITY_INFO] = "info",
                [SEVERITY_WARNING] = "warning",
                [SEVERITY_ERROR] = "error",
        };

        assert(severity < _SEVERITY_MAX);
        return names[severity];
}
