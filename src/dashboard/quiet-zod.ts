import { z } from 'zod';

// Imported before every schema: compiled checks need eval, which the content security policy forbids.
z.config({ jitless: true });
