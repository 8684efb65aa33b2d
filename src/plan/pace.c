/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plan/pace.h"

static void begin_silence(Pace *p, uint64_t now) {
        p->storm = true;
        p->until = now + PACE_USEC;
        p->n = 0;
}

PaceAnswer pace_ask(Pace *p, uint64_t now, size_t n_new) {
        if (p->storm) {
                p->n += n_new;
                return PACE_WAIT;
        }
        if (now >= p->until) {
                p->until = now + PACE_USEC;
                p->n = 0;
        }
        if (n_new > PACE_EACH || p->n + n_new > PACE_EACH) {
                begin_silence(p, now);
                return PACE_TELL_COUNT;
        }
        p->n += n_new;
        return PACE_TELL_EACH;
}

size_t pace_due(Pace *p, uint64_t now) {
        size_t n = p->n;

        if (!p->storm || now < p->until)
                return 0;
        if (n > 0)
                begin_silence(p, now);
        else
                *p = (Pace){};
        return n;
}
