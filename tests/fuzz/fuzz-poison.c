/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "fuzz.h"
#include "host/poison-text.h"

const char *const fuzz_seeds[] = {
        "0x100000000 free\n0x100001000 used\n0xfffffffffffff000 used\n",
        "0x1000 0:44 12 0x200000 7,8 /run/dmemfs/a\\040b (deleted)\n0x2000 0:44 12 0x0 - /x\n",
        "DMEM_EVENT=poison\nDMEM_NODE=0\nDMEM_ADDRESS=0x1000\nDMEM_SIZE=4096\nDMEM_STATE=used\n"
        "DMEM_SOURCE=mce\nDMEM_COUNT=9\nDMEM_COALESCED=3\nDMEM_FILE=/f\nDMEM_DEV=0:44\n"
        "DMEM_INODE=12\nDMEM_OFFSET=0x0\nDMEM_PROCESSES=1:a,b,2:c\n",
        NULL,
};

static void fuzz_event(char *text) {
        PoisonEvent e = {};
        char *line;

        while ((line = strsep(&text, "\n"))) {
                char *equals = strchr(line, '=');

                if (!equals)
                        continue;
                *equals = '\0';
                if (poison_event_set(&e, line, equals + 1) < 0)
                        break;
        }
        if (poison_event_check(&e) == 0) {
                FUZZ_EXPECT(e.size > 0 && e.size <= POISON_EVENT_SIZE_MAX);
                FUZZ_EXPECT(e.unit.address + (e.size - 1) >= e.unit.address);
                FUZZ_EXPECT(poison_event_new(&e) > 0 && poison_event_new(&e) <= e.count);
        }
        poison_event_done(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = fuzz_text(data, size), *printable = text_printable(text);
        PoisonedUnit *units;
        Sighting *users;
        size_t n;

        FUZZ_EXPECT(printable);
        for (const char *c = printable; *c; c++)
                FUZZ_EXPECT((unsigned char)*c >= 0x20 && *c != 0x7f);
        if (poisoned_parse(text, &units, &n) == 0) {
                for (size_t i = 1; i < n; i++)
                        FUZZ_EXPECT(units[i - 1].address < units[i].address);
                free(units);
        }
        if (users_parse(text, &users, &n) == 0) {
                for (size_t i = 0; i < n; i++)
                        FUZZ_EXPECT(users[i].user.device ||
                                    (!users[i].user.file && !users[i].user.processes));
                sightings_free(users, n);
        }
        fuzz_event(text);
        return 0;
}
