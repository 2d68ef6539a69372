import { Poll, type ImageEntry, type ImageList } from '@alcove/api';
import { app } from './app.svelte';
import { t } from './text';

/** The images of this computer, shared by what shows them. */
export const images = new Poll<ImageList>(() => app.live.client.images(), 30_000);

/** Whether an image can be deleted: one of ours that no machine needs. */
export const removable = ({ own, used_by: users }: ImageEntry): boolean => own && users.length === 0;

/** Deletes an image, after asking. */
export function askRemoveImage({ manifest: { version } }: ImageEntry): void {
  app.ask({
    title: t('image.ask'),
    text: t('image.ask.text', { version }),
    action: t('image.remove'),
    danger: true,
    onconfirm: () =>
      void app.run('image.remove', async () => {
        images.value = await app.live.client.removeImage(version);
      }),
  });
}
