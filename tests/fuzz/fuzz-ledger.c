/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "fuzz.h"
#include "host/ledger-file.h"

#define BOOT                                                                                       \
        "{\"boot_id\":\"d9b2d63d-a233-4123-847e-b1b7a5a9c2d1\","                                   \
        "\"dimms\":[{\"locator\":\"A1\",\"serial\":\"12\"},{\"locator\":null,\"serial\":null}]}\n"
#define UNIT                                                                                       \
        "{\"address\":\"0x140000000\",\"node\":0,\"state\":\"used\",\"source\":\"mce\","           \
        "\"first_seen_usec\":1764100000000000,\"last_seen_usec\":1764100000000001,\"boot\":0,"     \
        "\"forgotten\":0,\"told\":false,\"file\":\"/run/dmemfs/a\",\"device\":\"0:44\","           \
        "\"inode\":12,\"offset\":\"0x200000\",\"processes\":\"1:qemu,2\"}\n"

const char *const fuzz_seeds[] = {
        "{\"version\":1,\"units\":1}\n" BOOT UNIT,
        "{\"version\":1,\"units\":2}\n" BOOT UNIT
        "{\"address\":\"0x1000\",\"state\":\"outside\",\"source\":\"unknown\","
        "\"first_seen_usec\":0,\"last_seen_usec\":0,\"boot\":1}\n",
        "{\"version\":2}\n{\"address\":\"0x5000\"}\n",
        "{\"version\":1,\"units\":0}\n",
        NULL,
};

/* Whatever was read is a good ledger when it is written again, with all of its units. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(ledger_file_done) LedgerFile f = {}, again = {};
        _cleanup_free_ char *written = NULL;
        FILE *in, *out;
        size_t length;

        in = size > 0 ? fmemopen((void *)data, size, "r") : NULL;
        if (!in)
                return 0;
        FUZZ_EXPECT(ledger_read(in, &f) == 0);
        (void)fclose(in);
        for (size_t i = 0; i < f.ledger->n_units; i++) {
                const LedgerUnit *unit = &f.ledger->units[i];

                FUZZ_EXPECT(unit->address % UNIT_SIZE == 0);
                FUZZ_EXPECT(i == 0 || unit[-1].address < unit->address);
                FUZZ_EXPECT(unit->boot < f.ledger->n_boots);
        }
        out = open_memstream(&written, &length);
        FUZZ_EXPECT(out && ledger_write(f.ledger, out) == 0);
        (void)fclose(out);
        in = fmemopen(written, length, "r");
        FUZZ_EXPECT(in && ledger_read(in, &again) == 0);
        (void)fclose(in);
        FUZZ_EXPECT(again.condition == LEDGER_GOOD);
        FUZZ_EXPECT(again.ledger->n_units == f.ledger->n_units);
        return 0;
}
