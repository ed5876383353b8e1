#include "store/store.h"

#include <stdlib.h>

const char *store_why_text(enum store_why why)
{
    static const char *const text[STORE_WHYS] = {
        [STORE_WHY_OVERWRITTEN] = "overwritten", [STORE_WHY_CONFLICT] = "conflict", [STORE_WHY_DAMAGED] = "damaged",
        [STORE_WHY_KIND] = "kind changed", [STORE_WHY_DELETED] = "deleted", [STORE_WHY_PRUNED] = "pruned",
    };
    return why < STORE_WHYS ? text[why] : "overwritten";
}

void store_info_free(struct store_info *info)
{
    for (size_t i = 0; i < info->peers; i++)
        free(info->peer[i].address);
    free(info->peer);
    free(info->group);
    *info = (struct store_info){0};
}
