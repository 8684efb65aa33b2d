/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <inttypes.h>

#include "basic/macro.h"
#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "host/host-hugepages.h"

int host_count_hugepages(int root_fd, unsigned id, uint64_t page_size, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;
        char path[128];
        int r;

        (void)snprintf(path, sizeof(path),
                       "sys/devices/system/node/node%u/hugepages/hugepages-%" PRIu64
                       "kB/nr_hugepages",
                       id, page_size / KiB);
        r = root_read_text(root_fd, path, &text);
        if (r < 0)
                return r;
        return parse_u64(text, ret) < 0 ? -EBADMSG : 0;
}
