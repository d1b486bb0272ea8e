// What goes for good: a member and a token, each by its dialog, with nothing asked for that is not there any more.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { admin, linkOf, open, PLACE, session, settled, stop, URL_ } from './page.mjs';

let state;

before(async () => {
  state = await session(await linkOf('admin'));
});
after(stop);

/** Takes away what a row of a list names, by the verb of its dialog. */
async function away(page, name, verb) {
  const row = page.getByRole('listitem').filter({ hasText: name });
  const button = row.getByRole('button', { name: new RegExp(verb) });
  await button.click();
  const dialog = page.getByRole('dialog', { name: `${verb} ${name}` });
  await dialog.getByRole('button', { name: verb, exact: true }).and(page.locator(':enabled')).click();
  await dialog.waitFor({ state: 'detached' });
  // A token that is revoked is listed on, without it.
  await button.waitFor({ state: 'detached' });
}

test('who and what is taken away is not asked for again', async () => {
  const [member, token] = [`gone-${process.pid}`, `spent-${process.pid}`];
  await admin('POST', '/members', { name: member, roles: [{ role: 'viewer' }] });
  await admin('POST', '/tokens', { kind: 'viewer', name: token });
  const { page, context, complaints } = await open({ state });
  await page.goto(`${URL_}${PLACE}/settings/members`);
  await settled(page);
  await away(page, member, 'Remove');
  await page.goto(`${URL_}${PLACE}/settings/tokens`);
  await settled(page);
  await away(page, token, 'Revoke');
  assert.deepEqual(complaints, []);
  await context.close();
});
