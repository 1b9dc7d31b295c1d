import { z } from 'zod';
import { readJson } from './json-column.ts';

export const readRights = (text: string, where: string): string[] =>
  readJson(z.array(z.string()), text, where);
