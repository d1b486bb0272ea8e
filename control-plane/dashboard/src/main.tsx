// Starts the page: theme, answers, who is signed in, the feed, the addresses.
import './mantine.css';
import './colors.css';
import './styles.css';
import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { setNonce } from 'get-nonce';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { asProblem, styleNonce } from './api';
import { router } from './routes/tree';
import { SessionProvider } from './session/session';
import { theme } from './theme';

const nonce = styleNonce();
// Scroll locks of dialogs write a style of their own.
setNonce(nonce);

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      // What the server refused it refuses again; what did not arrive may.
      retry: (failures, error) => failures < 2 && ['offline', 'timeout', 'overloaded'].includes(asProblem(error).code),
    },
    mutations: { retry: false },
  },
});

const place = document.getElementById('root');
if (place !== null) {
  createRoot(place).render(
    <StrictMode>
      <MantineProvider theme={theme} defaultColorScheme="auto" getStyleNonce={() => nonce}>
        <QueryClientProvider client={queries}><SessionProvider><RouterProvider router={router} /></SessionProvider></QueryClientProvider>
      </MantineProvider>
    </StrictMode>,
  );
}
