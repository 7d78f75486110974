"""Dated tables and how they apply: conversion factors."""
