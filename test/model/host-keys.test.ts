import { describe, expect, test } from 'vitest';
import { hostKeyOfConsole, onlyHostKeyIn } from '../../src/model/host-keys.ts';

const KEY = `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${'x'.repeat(43)}`;
const OTHER = `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${'y'.repeat(43)}`;
const [BEGIN, END] = ['-----BEGIN SSH HOST KEY KEYS-----', '-----END SSH HOST KEY KEYS-----'];

describe('the host key in a text', () => {
  test.each([
    [`noise\n${KEY} comment\nnoise`, KEY],
    [`${KEY}\n${KEY}`, KEY],
    [`${KEY}\n${OTHER}`, null],
    [`${KEY}x`, null],
    ['ssh-ed25519 AAAA', null],
    ['', null],
  ])('%j', (text, key) => {
    expect(onlyHostKeyIn(text)).toBe(key);
  });
});

describe('the host key on a console', () => {
  test.each([
    [null, { kind: 'not-yet' }],
    ['booting', { kind: 'not-yet' }],
    [`${BEGIN}\n${KEY}`, { kind: 'not-yet' }],
    [`x\r\n${BEGIN}\r\necdsa-sha2-nistp256 AAAA root\r\n${KEY} root@ip\r\n${END}\r\n`, { kind: 'found', key: KEY }],
    [`ec2: ${BEGIN}\nec2: ${KEY} root\nec2: ${END}`, { kind: 'found', key: KEY }],
    [`${BEGIN}\n${KEY}\n${END}\nreboot\n${BEGIN}\n${KEY}\n${END}`, { kind: 'found', key: KEY }],
    [`${BEGIN}\n${KEY}\n${END}\n${BEGIN}\n${OTHER}\n${END}`, { kind: 'unfit' }],
    [`${BEGIN}\nssh-rsa AAAA root\n${END}\n${KEY}`, { kind: 'unfit' }],
  ])('%j', (text, expected) => {
    expect(hostKeyOfConsole(text)).toEqual(expected);
  });
});
