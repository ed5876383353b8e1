#include "store/store.h"

#include <stdlib.h>

void store_info_free(struct store_info *info)
{
    for (size_t i = 0; i < info->peers; i++)
        free(info->peer[i].address);
    free(info->peer);
    free(info->group);
    *info = (struct store_info){0};
}
