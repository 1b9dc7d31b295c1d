import { z } from 'zod';
import { loadSettings, type Settings } from './settings.ts';

/** Options of the commands that run on the host itself. */
export const hostOptionsSchema = z.object({
  config: z.string().optional(),
  data: z.string().optional(),
  host: z.string().optional(),
  port: z.coerce.number().int().min(0).max(65_535).optional(),
  simulated: z.boolean().optional(),
});

export async function readHostSettings(options: unknown): Promise<Settings> {
  const { config, data, ...rest } = hostOptionsSchema.parse(options);
  return await loadSettings({ configPath: config, dataFolder: data, ...rest });
}
