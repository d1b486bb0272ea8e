// Works with a client that a generator made of the document, and prints what it was answered as JSON. Compares nothing.
import { pathToFileURL } from 'node:url';

const { client, controlPlane, adminToken, project, environment } = JSON.parse(process.argv[2]);
const api = await import(pathToFileURL(client).href);
Object.assign(api.defaults, { baseUrl: controlPlane, headers: { authorization: `Bearer ${adminToken}` } });

const flag = {
  value_type: 'boolean', default_variation: 'on', off_variation: 'off',
  variations: [{ key: 'on', value: true }, { key: 'off', value: false }],
};
const at = [project, environment];
const made = await api.flagsPut(...at, 'generated', flag, { changeComment: 'by a client that was generated' });
const read = await api.flagsRead(...at, 'generated');
const rows = await api.flagRowsList(...at, { q: 'generated', limit: 1 });
const rehearsed = await api.flagsPatch(...at, 'generated', { enabled: false }, { dryRun: true });
const stale = await api.flagsPatch(...at, 'generated', { default_variation: 'off' }, { ifMatch: '"0"' });
const unknown = await api.flagsRead(...at, 'nowhere');
const off = await api.flagsSwitchOff(...at, 'generated');
const audit = await api.auditOfEnvironment(...at, { flag: 'generated', limit: 2 });
const gone = await api.flagsDelete(...at, 'generated');
console.log(JSON.stringify({ made, read, rows, rehearsed, stale, unknown, off, audit, gone }));
